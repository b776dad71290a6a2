package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The conformance suite for HTTP caches behind cache-tests.fyi, as npm has it.
const (
	suiteName    = "http-cache-tests"
	suiteVersion = "0.4.5"
	suiteSum     = "bde099a69b357a8779a797573906ff2b4c1912c394d1908dc4fbe78ac79de1fb"
	suiteFetch   = "node-fetch@2.7.0" // the only one of its modules that it needs without a browser
)

// TestCacheConformance runs the suite against "memstore edge" in front of the
// suite's own origin, and holds what did not pass against the list in
// testdata/conformance, whose reasons are in docs/cdn.md.
//
// With CACHE_TESTS=DIR it is the suite in that directory, a newer tree of it,
// and only what came out is printed.
func TestCacheConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: a quarter of a minute, most of it waiting, and -short is set")
	}
	needProgram(t, "node")
	suite := os.Getenv("CACHE_TESTS")
	if suite == "" {
		suite = fetchSuite(t)
	}
	origin := startSuiteOrigin(t, suite)
	edge := startEdge(t, "--origin", origin)

	verdicts := runSuite(t, suite, edge)
	if os.Getenv("CACHE_TESTS") != "" {
		t.Log("\n" + tabulate(verdicts))
		for _, v := range failures(verdicts) {
			t.Logf("not passed: %s", v)
		}
		return
	}
	known := knownFailures(t)
	var surprising []string
	for _, v := range failures(verdicts) {
		if !known[v.ID] {
			surprising = append(surprising, v.ID)
		}
	}
	if len(surprising) > 0 {
		// The suite measures with clocks; on a busy machine it may be wrong once.
		t.Logf("again: %s", strings.Join(surprising, ", "))
		maps.Copy(verdicts, runSuite(t, suite, edge, surprising...))
	}
	t.Log("\n" + tabulate(verdicts))
	for _, v := range failures(verdicts) {
		if !known[v.ID] {
			t.Errorf("not passed: %s", v)
		}
		delete(known, v.ID)
	}
	for id := range known {
		t.Errorf("%s passes; take it off the list", id)
	}
}

// TestConformanceReasons holds that docs/cdn.md gives a reason for each test on
// the list.
func TestConformanceReasons(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cdn.md")
	if err != nil {
		t.Fatal(err)
	}
	for id := range knownFailures(t) {
		if !bytes.Contains(doc, []byte("`"+id+"`")) {
			t.Errorf("docs/cdn.md does not say why %s is not passed", id)
		}
	}
}

// A verdict is what came of one test of the suite.
type verdict struct{ ID, Suite, Kind, Verdict, Detail string }

func (v verdict) String() string {
	return fmt.Sprintf("%s %s (%s: %s)", v.Kind, v.ID, v.Verdict, v.Detail)
}

// failures are the verdicts that are none too good. Tests of kind "check" can
// come out either way.
func failures(all map[string]verdict) []verdict {
	var out []verdict
	for _, v := range all {
		if v.Verdict != "pass" && v.Kind != "check" {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b verdict) int { return cmp.Or(cmp.Compare(a.Suite, b.Suite), cmp.Compare(a.ID, b.ID)) })
	return out
}

// tabulate counts what passed, by category and kind.
func tabulate(all map[string]verdict) string {
	kinds := []string{"required", "optimal", "check"}
	passed, total := map[string]int{}, map[string]int{}
	suites := map[string]bool{}
	for _, v := range all {
		for _, row := range []string{v.Suite, "TOTAL"} {
			total[row+v.Kind]++
			if v.Verdict == "pass" {
				passed[row+v.Kind]++
			}
		}
		suites[v.Suite] = true
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-20s%10s%10s%10s\n", "category", kinds[0], kinds[1], kinds[2])
	for _, row := range append(slices.Sorted(maps.Keys(suites)), "TOTAL") {
		fmt.Fprintf(&b, "%-20s", row)
		for _, kind := range kinds {
			cell := "-"
			if n := total[row+kind]; n > 0 {
				cell = fmt.Sprintf("%d/%d", passed[row+kind], n)
			}
			fmt.Fprintf(&b, "%10s", cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// knownFailures reads the list of tests that are known not to be passed.
func knownFailures(t *testing.T) map[string]bool {
	t.Helper()
	list, err := os.ReadFile("testdata/conformance/not-passed.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			known[line] = true
		}
	}
	return known
}

// fetchSuite gets the suite from npm, once, and returns its directory.
func fetchSuite(t *testing.T) string {
	t.Helper()
	needProgram(t, "npm")
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "memstore", suiteName+"-"+suiteVersion)
	suite := filepath.Join(dir, "package")
	if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
		return suite
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tarball := suiteName + "-" + suiteVersion + ".tgz"
	for _, args := range [][]string{
		{"npm", "pack", "--silent", suiteName + "@" + suiteVersion},
		{"tar", "xf", tarball},
		{"npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--ignore-scripts", "--prefix", dir, suiteFetch},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
			t.Skipf("SKIPPED: the conformance suite cannot be had from npm: %v: %v\n%s", args, err, out)
		}
		if args[1] == "pack" {
			b, err := os.ReadFile(filepath.Join(dir, tarball))
			if err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != suiteSum {
				t.Fatalf("%s has the SHA-256 %x, and should have %s", tarball, sum, suiteSum)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ready"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return suite
}

// startSuiteOrigin starts the suite's own origin, and returns its URL.
func startSuiteOrigin(t *testing.T, suite string) string {
	t.Helper()
	script := filepath.Join(suite, "server", "server.mjs")
	if _, err := os.Stat(script); err != nil {
		script = filepath.Join(suite, "test-engine", "server", "server.mjs")
	}
	shim, err := filepath.Abs("testdata/conformance/loopback.cjs")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "--no-warnings", "--require", shim, script)
	cmd.Dir = suite // it reads its settings as npm would give them
	cmd.Env = append(os.Environ(), "npm_config_protocol=http", "npm_config_port=0", "npm_config_pidfile="+os.DevNull)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return firstMatch(t, out, `http://127\.0\.0\.1:\d+`)
}

// startEdge runs "memstore edge" in this process until the test ends, and
// returns its URL.
func startEdge(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	args = append([]string{"edge", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--log-level", "error"}, args...)
	go func() {
		ended <- run(ctx, args, strings.NewReader(""), w, io.Discard)
		w.Close()
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("memstore edge ended with %d", code)
		}
	})
	return firstMatch(t, r, `http://127\.0\.0\.1:\d+`)
}

// firstMatch reads lines until one has what is looked for, and goes on reading
// for whoever writes them.
func firstMatch(t *testing.T, r io.Reader, expr string) string {
	t.Helper()
	re := regexp.MustCompile(expr)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := re.FindString(lines.Text()); m != "" {
			go io.Copy(io.Discard, r)
			return m
		}
	}
	t.Fatalf("it ended without saying %s", expr)
	return ""
}

// runSuite runs the tests with these ids, or all, and returns the verdicts by id.
func runSuite(t *testing.T, suite, base string, ids ...string) map[string]verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	script, err := filepath.Abs("testdata/conformance/run.mjs")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--no-warnings", script, suite, base}
	if len(ids) > 0 {
		args = append(args, strings.Join(ids, ","))
	}
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = suite
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the suite failed: %v\n%s", err, words.Bytes())
	}
	verdicts := map[string]verdict{}
	for line := range bytes.Lines(out) {
		var v verdict
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if len(ids) == 0 || slices.Contains(ids, v.ID) {
			verdicts[v.ID] = v
		}
	}
	if len(verdicts) == 0 {
		t.Fatal("the suite ran no test")
	}
	return verdicts
}
