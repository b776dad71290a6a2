// Package peer starts other people's servers for tests and benchmarks of this
// one, privately: on loopback, on free ports, with all their files in one
// directory.
package peer

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script starts OpenStack Swift, and says how.
//
//go:embed openstack-swift
var script []byte

// ErrUnavailable means that a peer cannot run on this machine; the error's text
// says what it lacks.
var ErrUnavailable = errors.New("peer cannot run here")

// A User can log in to a Swift.
type User struct{ Name, Password string }

// The users of a Swift. The storage account of "test:tester" is "AUTH_test".
var (
	Tester  = User{"test:tester", "testing"}    // administrator of his account
	Tester2 = User{"test:tester2", "testing2"}  // the same
	Tester3 = User{"test:tester3", "testing3"}  // may only what is granted to him
	Other   = User{"test2:tester2", "testing2"} // administrator of another account
	Admin   = User{"admin:admin", "admin"}      // reseller administrator
	Service = User{"test5:tester5", "testing5"} // a service, whose token opens SERVICE_ accounts
)

// SwiftOptions tune a Swift.
type SwiftOptions struct {
	// Workers is how many processes the proxy and the object server have beside
	// themselves. For a fair race it is the number of CPUs.
	Workers int

	// Log is the file that gets the servers' log; empty for none.
	Log string
}

// Swift is a running OpenStack Swift of one node.
type Swift struct {
	URL     string // "http://127.0.0.1:38211"
	AuthURL string // where TempAuth's v1 login is: URL + "/auth/v1.0"
	Version string // of Debian's package, "2.30.1-0+deb12u3"

	cmd    *exec.Cmd
	stdin  io.WriteCloser // its end is Swift's
	stdout *bufio.Reader
}

// StartSwift starts a Swift that keeps what it stores in dir, which should be
// on tmpfs or XFS: ext4 has too little room for all of an object's metadata.
// It ends with Stop, with ctx, or with this process, whatever ends that.
//
// The packages Swift needs are installed if this process may do so; if not the
// error is ErrUnavailable.
func StartSwift(ctx context.Context, dir string, o SwiftOptions) (*Swift, error) {
	s, err := startSwift(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("starting OpenStack Swift: %w", err)
	}
	return s, nil
}

func startSwift(ctx context.Context, dir string, o SwiftOptions) (*Swift, error) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "openstack-swift")
	if err := os.WriteFile(name, script, 0o755); err != nil {
		return nil, err
	}
	var complaints strings.Builder
	cmd := exec.CommandContext(ctx, bash, name, dir)
	cmd.Env = append(os.Environ(),
		fmt.Sprint("SWIFT_WORKERS=", o.Workers), "SWIFT_LOG="+o.Log)
	cmd.Stderr = &complaints
	// The script tidies up when asked; killed it would leave its servers alone.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	answers := bufio.NewReader(stdout)
	line, err := answers.ReadString('\n')
	if err != nil { // it ended before it was up
		stdin.Close()
		err = cmd.Wait()
		said := strings.TrimSpace(complaints.String())
		if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.ExitCode() == 3 {
			return nil, fmt.Errorf("%w: %s", ErrUnavailable, said)
		}
		return nil, fmt.Errorf("%w: %s", errors.Join(err, ctx.Err()), said)
	}
	url := strings.TrimSpace(line)
	version, _ := exec.CommandContext(ctx, "dpkg-query", "-Wf", "${Version}", "python3-swift").Output()
	return &Swift{URL: url, AuthURL: url + "/auth/v1.0", Version: string(version), cmd: cmd, stdin: stdin, stdout: answers}, nil
}

// Update has the containers report their totals to their accounts. Without it
// an account's totals, and those of containers in its listing, do not move.
func (s *Swift) Update() error {
	if _, err := io.WriteString(s.stdin, "update\n"); err != nil {
		return fmt.Errorf("updating OpenStack Swift: %w", err)
	}
	if line, err := s.stdout.ReadString('\n'); line != "updated\n" {
		return fmt.Errorf("updating OpenStack Swift: answer %q, %w", line, err)
	}
	return nil
}

// Stop ends the servers and waits for their end. What they stored stays.
func (s *Swift) Stop() error {
	s.stdin.Close()
	return s.cmd.Wait()
}

// SwiftFor starts a Swift for as long as a test runs. Where it cannot run the test
// is skipped, or fails if the variable CI is set: there nothing may be missing.
func SwiftFor(t testing.TB, o SwiftOptions) *Swift {
	t.Helper()
	dir, err := os.MkdirTemp(roomyDir(), "openstack-swift-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := StartSwift(context.WithoutCancel(t.Context()), dir, o)
	switch {
	case errors.Is(err, ErrUnavailable) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stopping OpenStack Swift: %v", err)
		}
	})
	return s
}

// roomyDir is a directory on tmpfs if there is one, else that for temporary files.
func roomyDir() string {
	const tmpfs = "/dev/shm"
	if dir, err := os.MkdirTemp(tmpfs, "probe-"); err == nil {
		os.Remove(dir)
		return tmpfs
	}
	return os.TempDir()
}
