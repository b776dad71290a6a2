package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this very program as "memstore".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"memstore": main})
}

// TestTrips runs the scripts in testdata/trips: whole trips with the clients
// that people use, against a server in a process of its own.
//
// Beside the commands of testscript they have:
//
//	serve NAME [ARGUMENTS]   starts "memstore serve" on the data directory NAME
//	                         and waits until it is ready; sets $URL, $ADMIN, and
//	                         for the clients $ST_AUTH, $ST_USER and $ST_KEY;
//	                         $SFTP, $FTP and $FTPS are HOST:PORT of these doors,
//	                         and ssh.conf lets OpenSSH's programs find the host
//	                         NAME, as $ST_USER with the password $ST_KEY
//	edge NAME [ARGUMENTS]    starts "memstore edge" likewise; sets $EDGE
//	drain NAME               ends it with SIGTERM; it must drain and succeed
//	crash NAME               ends it with SIGKILL
//	reload NAME              sends it SIGHUP and waits until it has reloaded
//	pasted NAME FILE         writes the commands that it printed into FILE
//	said NAME REGEXP         looks for a match in what it printed and logged
//	eventually COMMAND ...   runs a program until it succeeds, at most two minutes
//	quits CODE COMMAND ...   runs a program that must exit with that code
func TestTrips(t *testing.T) {
	runTrips(t, "testdata/trips")
}

// TestLongTrips runs those in testdata/long, which take minutes.
func TestLongTrips(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: a matter of minutes, and -short is set")
	}
	runTrips(t, "testdata/long")
}

func runTrips(t *testing.T, dir string) {
	for _, program := range []string{"swift", "rclone", "curl", "lftp", "sftp", "scp"} {
		needProgram(t, program)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Condition:           condition,
		Setup: func(e *testscript.Env) error {
			h := &harness{servers: map[string]*server{}}
			e.Values[harnessKey{}] = h
			e.Defer(h.killAll)
			e.Setenv("MEMSTORE_CONFIG", os.DevNull)
			e.Setenv("MEMSTORE_DISK_BALLAST", "1MiB")
			e.Setenv("GOROOTSRC", filepath.Join(goroot(t), "src"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":      cmdServe,
			"edge":       cmdEdge,
			"drain":      cmdDrain,
			"crash":      cmdCrash,
			"reload":     cmdReload,
			"pasted":     cmdPasted,
			"said":       cmdSaid,
			"eventually": cmdEventually,
			"quits":      cmdQuits,
		},
	})
}

// needProgram skips the test, aloud, where a client is missing; but not in CI.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed; run .ci/setup", name)
	}
	t.Skipf("SKIPPED: %s is not installed; run .ci/setup", name)
}

func goroot(t *testing.T) string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

type harnessKey struct{}

// A harness holds the servers of one script.
type harness struct{ servers map[string]*server }

func (h *harness) killAll() {
	for _, s := range h.servers {
		s.cmd.Process.Kill()
		<-s.ended
	}
}

// A server is a running "memstore serve".
type server struct {
	cmd    *exec.Cmd
	stdout string // all of it, up to "Ready."
	ended  chan struct{}
	err    error // of Wait, once ended is closed
	log    *journal
}

// A journal keeps what a process writes, and lets others wait for something in
// it.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed at the next write
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.more)
	j.more = make(chan struct{})
	return j.text.Write(p)
}

func (j *journal) read() (string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String(), j.more
}

// await returns when the text behind the first skip bytes has want in it.
func (j *journal) await(ctx context.Context, skip int, want string) error {
	for {
		text, more := j.read()
		if strings.Contains(text[skip:], want) {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func find(ts *testscript.TestScript, name string) *server {
	s := ts.Value(harnessKey{}).(*harness).servers[name]
	if s == nil {
		ts.Fatalf("no server %q was started", name)
	}
	return s
}

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve NAME [ARGUMENTS]")
	}
	name := args[0]
	line := append([]string{"serve", "--data", ts.MkAbs(name), "--gateway", "127.0.0.1:0"}, args[1:]...)
	s := launch(ts, name, line, "Ready.")
	value := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(s.stdout)
		if m == nil {
			return ""
		}
		return m[1]
	}
	url := value(`Swift +(http\S*)/auth/v1.0`)
	ts.Setenv("URL", url)
	ts.Setenv("GATEWAY", strings.TrimPrefix(url, "http://"))
	ts.Setenv("ADMIN", value(`admin +(http\S*)/metrics`))
	ts.Setenv("CDN", value(`(?m)^  CDN +(http\S*)$`))
	ts.Setenv("ST_AUTH", url+"/auth/v1.0")
	ts.Setenv("ST_USER", value(`(?m)user passwd --data .* (\S+)$`))
	if p := value(`(?m)^  password +(\S+)`); p != "" {
		ts.Setenv("ST_KEY", p)
	}
	for _, door := range []string{"SFTP", "FTP", "FTPS"} {
		ts.Setenv(door, value(`(?m)^  `+door+`\b.* \w+://(\S+)`))
	}
	configureSSH(ts, name)
}

func cmdEdge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: edge NAME [ARGUMENTS]")
	}
	line := append([]string{"edge", "--data", ts.MkAbs(args[0]), "--listen", "127.0.0.1:0"}, args[1:]...)
	s := launch(ts, args[0], line, "edge: ")
	ts.Setenv("EDGE", strings.Fields(s.stdout)[1])
}

// launch starts a server, and waits until it prints a line that begins so.
func launch(ts *testscript.TestScript, name string, line []string, sign string) *server {
	s := &server{ended: make(chan struct{}), log: newJournal()}
	s.cmd = exec.Command(lookPath(ts, "memstore"), line...)
	s.cmd.Dir = ts.MkAbs(".")
	s.cmd.Env = environ(ts)
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	h := ts.Value(harnessKey{}).(*harness)
	h.servers[name] = s
	ready := make(chan string, 1)
	go func() {
		var b strings.Builder
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			b.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), sign) {
				ready <- b.String()
			}
		}
		io.Copy(io.Discard, out)
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	select {
	case s.stdout = <-ready:
	case <-s.ended:
		text, _ := s.log.read()
		ts.Fatalf("%s ended at its start: %v\n%s", line[0], s.err, text)
	case <-time.After(time.Minute):
		ts.Fatalf("%s is not ready after a minute", line[0])
	}
	ts.Logf("%s", s.stdout)
	return s
}

// configureSSH writes what OpenSSH's programs need to know of a server: where it
// is, and a program that tells them the password.
func configureSSH(ts *testscript.TestScript, name string) {
	host, port, _ := strings.Cut(ts.Getenv("SFTP"), ":")
	if port == "" {
		return
	}
	user := strings.Replace(ts.Getenv("ST_USER"), ":", ".", 1)
	conf := fmt.Sprintf("Host %s\nHostName %s\nPort %s\nUser %s\n"+
		"BatchMode no\nNoHostAuthenticationForLocalhost yes\nLogLevel ERROR\nNumberOfPasswordPrompts 1\n", name, host, port, user)
	ts.Check(os.WriteFile(ts.MkAbs("ssh.conf"), []byte(conf), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("askpass"), []byte("#!/bin/sh\necho \"$ST_KEY\"\n"), 0o700))
	ts.Setenv("SSH_ASKPASS", ts.MkAbs("askpass"))
	ts.Setenv("SSH_ASKPASS_REQUIRE", "force")
}

// environ is the environment of the script.
func environ(ts *testscript.TestScript) []string {
	var list []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "WORK", "MEMSTORE_CONFIG", "MEMSTORE_DISK_BALLAST", "MEMSTORE_USER",
		"MEMSTORE_PASSWORD", "MEMSTORE_PASSWORD_FILE", "MEMSTORE_SWEEP", "MEMSTORE_PARTIAL", "MEMSTORE_LOG_LEVEL", "GOCOVERDIR"} {
		if v := ts.Getenv(name); v != "" {
			list = append(list, name+"="+v)
		}
	}
	return list
}

// lookPath finds a program as the script would.
func lookPath(ts *testscript.TestScript, name string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode()&0o111 != 0 {
			return file
		}
	}
	ts.Fatalf("%s is not in $PATH", name)
	return ""
}

func cmdDrain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: drain NAME")
	}
	s := find(ts, args[0])
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		ts.Fatalf("%s does not end", args[0])
	}
	text, _ := s.log.read()
	if s.err != nil {
		ts.Fatalf("%s ended with %v\n%s", args[0], s.err, text)
	}
	if strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") {
		ts.Fatalf("%s was not well:\n%s", args[0], text)
	}
	delete(ts.Value(harnessKey{}).(*harness).servers, args[0])
}

func cmdCrash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: crash NAME")
	}
	s := find(ts, args[0])
	ts.Check(s.cmd.Process.Kill())
	<-s.ended
	delete(ts.Value(harnessKey{}).(*harness).servers, args[0])
}

func cmdReload(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: reload NAME")
	}
	s := find(ts, args[0])
	text, _ := s.log.read()
	ts.Check(s.cmd.Process.Signal(syscall.SIGHUP))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ts.Check(s.log.await(ctx, len(text), "reloaded"))
}

func cmdPasted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pasted NAME FILE")
	}
	_, commands, ok := strings.Cut(find(ts, args[0]).stdout, "paste into another terminal:\n")
	commands, _, ok2 := strings.Cut(commands, "\nReady.\n")
	if !ok || !ok2 {
		ts.Fatalf("%s printed no commands", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(commands), 0o600))
}

func cmdSaid(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] said NAME REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	s := find(ts, args[0])
	log, _ := s.log.read()
	if text := s.stdout + log; re.MatchString(text) == neg {
		ts.Fatalf("match for %q: %v, in:\n%s", args[1], !neg, text)
	}
}

func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: [!] eventually COMMAND [ARGUMENTS]")
	}
	begun := time.Now()
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			ts.Logf("after %v", time.Since(begun).Round(time.Millisecond))
			return
		}
		if time.Since(begun) > 2*time.Minute {
			ts.Fatalf("still %v", cmp.Or(err, errors.New("succeeds")))
		}
		<-time.After(20 * time.Millisecond) // the processor is for what is waited for
	}
}

func cmdQuits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: quits CODE COMMAND [ARGUMENTS]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("%s exits with %d, want %s", args[1], code, args[0])
	}
}
