package disk

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
)

const millionDir = "MEMSTORE_TEST_MILLION_DIR"

// TestMillionChild is the process of TestMillion: it fills a store and waits
// to be killed.
func TestMillionChild(t *testing.T) {
	dir := os.Getenv(millionDir)
	if dir == "" {
		return // not a test of its own: TestMillion runs it in a process to be measured
	}
	o := Options{Log: quiet, Ballast: -1, Reserve: 1, ScrubRate: -1}
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []storage.Path{{Account: "a"}, {Account: "a", Container: "c"}} {
		if _, err := b.Make(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, b, million)
	// Walk it all, so that the cache is as full as it gets.
	n := 0
	for range b.List(t.Context(), storage.Path{Account: "a", Container: "c"}, storage.Query{}) {
		n++
	}
	os.Stdout.WriteString("ready " + strconv.Itoa(n) + "\n")
	select {}
}

var raceEnabled bool // by race_test.go

const million = 1_000_000

// TestMillion: a store of a million objects, killed, is open again within the
// promised three seconds, and the process that filled it kept within its
// memory.
func TestMillion(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes long, and the race detector more memory than is promised")
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMillionChild$", "-test.v")
	cmd.Env = append(os.Environ(), millionDir+"="+dir, "GOMEMLIMIT=260MiB")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var said string
	for buf := make([]byte, 4096); !strings.Contains(said, "ready 1000000\n"); {
		n, err := out.Read(buf)
		if said += string(buf[:n]); err != nil {
			t.Fatalf("%v, after %q", err, said)
		}
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rss)[0])
	if err != nil {
		t.Fatal(err)
	}
	if t.Logf("resident: %d MiB", kib>>10); kib>>10 > 300 {
		t.Errorf("resident: %d MiB, want at most 300", kib>>10)
	}
	cmd.Process.Kill()
	cmd.Wait()

	begin := time.Now()
	b := open(t, dir, Options{Log: quiet, Ballast: -1, Reserve: 1, ScrubRate: -1})
	in, err := b.Stat(t.Context(), storage.Path{Account: "a", Container: "c"})
	took := time.Since(begin)
	if err != nil || in.Objects != million {
		t.Fatalf("%d objects, %v", in.Objects, err)
	}
	if t.Logf("open after the kill: %v", took); took > 3*time.Second {
		t.Errorf("open after the kill took %v", took)
	}
	begin = time.Now()
	n := 0
	for _, err := range b.List(t.Context(), storage.Path{Account: "a", Container: "c"}, storage.Query{Delimiter: "/"}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if t.Logf("a page of %d subdirs of a million names: %v", n, time.Since(begin)); n != 1000 {
		t.Errorf("%d subdirs, want 1,000", n)
	}
}
