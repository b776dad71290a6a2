// Package spawn runs Memstore as it is shipped, a process of its own, for the
// harness that kills it and the benchmark that measures it.
package spawn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// User and Password are those of the first user of every store started here:
// an administrator of the account bench.
const (
	User     = "bench:admin"
	Password = "on loopback only 1"
)

// Build compiles the program into dir and returns its path. It is to be called
// from anywhere inside the module.
func Build(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "memstore")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "memstore.dev/memstore/cmd/memstore")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build memstore: %w\n%s", err, out)
	}
	return bin, nil
}

// A Process is a running "memstore serve".
type Process struct {
	URL string // of its Swift door, without a path

	cmd    *exec.Cmd
	ready  chan string   // the URL, once it is printed
	told   chan struct{} // closed when it has printed where all doors are
	ended  chan struct{}
	err    error // of Wait, once ended is closed
	mu     sync.Mutex
	output strings.Builder // guarded by mu
}

// Start begins "bin serve" on a data directory, with its Swift door on a port
// of its own, further arguments and further environment variables. The process
// dies with this one.
func Start(bin, data string, args, env []string) (*Process, error) {
	p := &Process{ready: make(chan string, 1), told: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.Command(bin, append([]string{"serve", "--data", data, "--gateway", "127.0.0.1:0", "--admin", ""}, args...)...)
	p.cmd.Env = append(os.Environ(), "MEMSTORE_USER="+User, "MEMSTORE_PASSWORD="+Password)
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		defer r.Close()
		p.read(r)
	}()
	go func() {
		<-drained // what it said last is said before it is gone
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:[1-9][0-9]*`)

// read keeps the beginning of the output, and finds in it the address that the
// door listens on. The rest it reads in large pieces and forgets: whoever
// starts the process may be measuring it.
func (p *Process) read(r io.Reader) {
	const most = 64 << 10
	lines := bufio.NewReader(r)
	for kept, found, told := 0, false, false; kept < most; {
		line, err := lines.ReadString('\n')
		if u := address.FindString(line); u != "" && !found {
			found = true
			p.ready <- u
		}
		kept += len(line)
		p.mu.Lock()
		p.output.WriteString(line)
		p.mu.Unlock()
		if line == "Ready.\n" && !told {
			told = true
			close(p.told)
		}
		if err != nil {
			return
		}
	}
	lines.Discard(lines.Buffered())
	for b := make([]byte, 256<<10); ; {
		if _, err := r.Read(b); err != nil {
			return
		}
	}
}

// Output is what the process has printed so far, up to a limit.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ready waits until the process answers /healthcheck, and sets URL.
func (p *Process) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	select {
	case p.URL = <-p.ready:
	case <-p.ended:
		return fmt.Errorf("memstore ended at its start: %w\n%s", exitError(p.err), p.Output())
	case <-ctx.Done():
		return fmt.Errorf("memstore does not say where it listens: %w\n%s", ctx.Err(), p.Output())
	}
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", p.URL+"/healthcheck", nil)
		if err != nil {
			return err
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-p.ended:
			return fmt.Errorf("memstore ended at its start: %w\n%s", exitError(p.err), p.Output())
		case <-ctx.Done():
			return fmt.Errorf("memstore does not answer: %w\n%s", err, p.Output())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

var fileDoor = regexp.MustCompile(`(?m)^  (SFTP|FTPS|FTP)\b.* s?ftps?://(\S+)`)

// FileDoors are where the process listens for those who come for files, as HOST
// and PORT by the name of the door: SFTP, FTP and FTPS, as far as they were asked
// for when it was started. Call it when it is ready.
func (p *Process) FileDoors(ctx context.Context) (map[string]string, error) {
	select {
	case <-p.told:
	case <-p.ended:
		return nil, fmt.Errorf("memstore ended at its start: %w\n%s", exitError(p.err), p.Output())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	doors := map[string]string{}
	for _, found := range fileDoor.FindAllStringSubmatch(p.Output(), -1) {
		doors[found[1]] = found[2]
	}
	return doors, nil
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Login returns the URL of the account and a token for it, in exchange for the
// user's name and password at authURL.
func Login(ctx context.Context, authURL, user, password string) (url, token string, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", authURL, nil)
	if err != nil {
		return "", "", err
	}
	req.Close = true
	req.Header.Set("X-Auth-User", user)
	req.Header.Set("X-Auth-Key", password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	resp.Body.Close()
	url, token = resp.Header.Get("X-Storage-Url"), resp.Header.Get("X-Auth-Token")
	if resp.StatusCode/100 != 2 || url == "" || token == "" {
		return "", "", fmt.Errorf("login as %s at %s: %s", user, authURL, resp.Status)
	}
	return strings.TrimSuffix(url, "/"), token, nil
}

// Login logs the first user in.
func (p *Process) Login(ctx context.Context) (url, token string, err error) {
	return Login(ctx, p.URL+"/auth/v1.0", User, Password)
}

// Kill ends the process with SIGKILL and returns when it is gone: no request
// to it can have an effect any more.
func (p *Process) Kill() {
	p.cmd.Process.Kill() // an error says that it is gone already
	<-p.ended
}

// Stop ends the process with SIGTERM, as an administrator would.
func (p *Process) Stop(ctx context.Context) error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	}
	if p.err != nil {
		return fmt.Errorf("memstore did not end well: %w\n%s", p.err, p.Output())
	}
	return nil
}

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Resident is the process's memory in bytes, now and at its greatest.
func (p *Process) Resident() (now, peak int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			now = kb << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			peak = kb << 10
		}
	}
	return now, peak, nil
}

// ForgetPeak has the greatest memory of the process counted from now on.
func (p *Process) ForgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte("5"), 0)
}

// Idle waits until the process does next to nothing, and says how long that
// took: what it puts off until later is done then. It does not wait longer
// than most.
func (p *Process) Idle(ctx context.Context, most time.Duration) (time.Duration, error) {
	const step = 250 * time.Millisecond
	begun := time.Now()
	before, err := p.worked()
	for quiet := 0; err == nil && quiet < 4 && time.Since(begun) < most; {
		select {
		case <-time.After(step):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		var now time.Duration
		now, err = p.worked()
		quiet++
		if now-before > step/20 {
			quiet = 0
		}
		before = now
	}
	return time.Since(begun), err
}

// worked is how long the process has had a processor.
func (p *Process) worked() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before it may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", p.PID(), b)
	}
	var ticks int64 // user, then system, of a hundredth of a second each
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil
}
