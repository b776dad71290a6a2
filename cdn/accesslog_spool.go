package cdn

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// An AccessLog spools the access logs of containers whose owners want them, in
// files, until a Ledger has taken them.
//
// A line is in its file a second after it was written, at most; a killed edge
// loses no more than that, and finds the rest when it starts again. A file is
// delivered under a name that it was given when it was made, and deleted then:
// whatever goes wrong between, its lines are delivered once.
type AccessLog struct {
	// Dir is where the files are. It belongs to the AccessLog.
	Dir string

	// Every is how long a part of a log is; parts begin at full multiples of it.
	// 0 is an hour.
	Every time.Duration

	// Limit is how many bytes may wait to be delivered; beyond it lines are lost.
	// 0 is 1 GiB.
	Limit int64

	// Logger takes what an operator should know. Nil is slog.Default.
	Logger *slog.Logger

	mu   sync.Mutex // guards all below
	open map[partKey]*spooled
	size int64 // of all files
	lost int64 // lines, since it was said
	line []byte

	delivering sync.Mutex
}

// A LogPart is a part of the access log of one container.
type LogPart struct {
	Account   string    `json:"account"`
	Container string    `json:"container"`
	At        time.Time `json:"at"` // when it begins
	ID        string    `json:"id"` // an MD5, of no other part
	Lines     []byte    `json:"-"`  // compressed by gzip
}

// LogContainer is where the access logs of an account are.
const LogContainer = ".CDN_ACCESS_LOGS"

// Object is the name of the part there.
func (p *LogPart) Object() string {
	return p.Container + p.At.UTC().Format("/2006/01/02/15/") + p.ID + ".log.gz"
}

// sound reports whether a part is what an edge may deliver.
func (p *LogPart) sound() bool {
	id, err := hex.DecodeString(p.ID)
	return err == nil && len(id) == md5.Size && p.Account != "" && p.Container != "" && !strings.Contains(p.Container, "/") && !p.At.IsZero()
}

// A partKey says which lines are one part.
type partKey struct {
	account, container string
	at                 int64
}

// A spooled part is still being written.
type spooled struct {
	path string
	file *os.File
	out  *bufio.Writer
	size int64
}

const (
	maxPart    = 16 << 20 // bytes of a part, before it is compressed
	spoolEvery = time.Second
)

func (a *AccessLog) every() time.Duration {
	if a.Every <= 0 {
		return time.Hour
	}
	return a.Every
}

func (a *AccessLog) logger() *slog.Logger {
	if a.Logger == nil {
		return slog.Default()
	}
	return a.Logger
}

// Open makes the directory, and finds what an earlier run has left in it.
func (a *AccessLog) Open() error {
	if err := os.MkdirAll(a.Dir, 0o700); err != nil {
		return err
	}
	a.open = make(map[partKey]*spooled)
	entries, err := os.ReadDir(a.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if in, err := e.Info(); err == nil {
			a.size += in.Size()
		}
	}
	if a.Limit <= 0 {
		a.Limit = 1 << 30
	}
	return nil
}

// Close writes what is in memory to the files. They wait for the next run.
func (a *AccessLog) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for key := range a.open {
		errs = append(errs, a.shut(key))
	}
	return errors.Join(errs...)
}

// add logs a request.
func (a *AccessLog) add(s *serving) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line = appendLine(a.line[:0], s)
	if a.open == nil || a.size+int64(len(a.line)) > a.Limit {
		a.lost++
		return
	}
	p, err := a.part(partKey{s.rec.site.Account, s.rec.site.Container, s.at.UTC().Truncate(a.every()).Unix()})
	if err == nil {
		_, err = p.out.Write(a.line)
		p.size += int64(len(a.line))
		a.size += int64(len(a.line))
	}
	if err != nil {
		a.lost++
	}
}

// part returns where lines go; mu is held.
func (a *AccessLog) part(key partKey) (*spooled, error) {
	p := a.open[key]
	if p != nil && p.size < maxPart {
		return p, nil
	}
	if p != nil {
		a.shut(key) // what cannot be written has been lost, and said, already
	}
	id := md5.Sum([]byte(rand.Text()))
	head, err := json.Marshal(LogPart{Account: key.account, Container: key.container, At: time.Unix(key.at, 0).UTC(), ID: hex.EncodeToString(id[:])})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(a.Dir, hex.EncodeToString(id[:]))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	p = &spooled{path: path, file: file, out: bufio.NewWriterSize(file, 32<<10)}
	p.out.Write(append(head, '\n'))
	a.size += int64(len(head)) + 1
	a.open[key] = p
	return p, nil
}

// shut ends a part; mu is held.
func (a *AccessLog) shut(key partKey) error {
	p := a.open[key]
	delete(a.open, key)
	return errors.Join(p.out.Flush(), p.file.Close())
}

// Run writes what is in memory to the files each second, and has parts
// delivered once their time is over, until ctx ends.
func (a *AccessLog) Run(ctx context.Context, l Ledger) {
	tick := time.NewTicker(spoolEvery)
	defer tick.Stop()
	said, retry := "", time.Time{}
	for {
		a.flush()
		if now := time.Now(); now.After(retry) {
			err := a.Deliver(ctx, l, now)
			if ctx.Err() != nil {
				return
			}
			text := ""
			if err != nil {
				text, retry = err.Error(), now.Add(15*time.Second)
			}
			if text != "" && text != said {
				a.logger().Warn("access logs wait to be delivered", "error", err)
			}
			said = text
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *AccessLog) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	for _, p := range a.open {
		err = errors.Join(err, p.out.Flush())
	}
	if a.lost > 0 {
		a.logger().Error("lines of access logs are lost: too many wait to be delivered, or they cannot be written", "lines", a.lost, "limit", a.Limit, "error", err)
		a.lost = 0
	}
}

// Deliver delivers the parts whose time is over at a moment.
func (a *AccessLog) Deliver(ctx context.Context, l Ledger, now time.Time) error {
	a.delivering.Lock()
	defer a.delivering.Unlock()
	a.mu.Lock()
	writing := make(map[string]bool)
	for key, p := range a.open {
		// A request is logged when it ends, under the time at which it began, so
		// that a part may be made anew for one that took long. That is another part.
		if !now.Before(time.Unix(key.at, 0).Add(a.every())) {
			a.shut(key)
			continue
		}
		writing[filepath.Base(p.path)] = true
	}
	a.mu.Unlock()
	entries, err := os.ReadDir(a.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if writing[e.Name()] {
			continue
		}
		if err := a.deliver(ctx, l, filepath.Join(a.Dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (a *AccessLog) deliver(ctx context.Context, l Ledger, path string) error {
	a.mu.Lock() // which a part that has just been made is open under
	for _, p := range a.open {
		if p.path == path {
			a.mu.Unlock()
			return nil
		}
	}
	a.mu.Unlock()
	p, size, err := readPart(path)
	switch {
	case errors.Is(err, errNoPart):
		a.logger().Warn("not a part of an access log; deleted", "file", path)
	case err != nil:
		return err
	case len(p.Lines) > 0:
		err = l.Deliver(ctx, p)
		if errors.Is(err, fs.ErrNotExist) {
			a.logger().Info("an access log has no owner any more", "account", p.Account, "container", p.Container)
		} else if err != nil {
			return fmt.Errorf("access log of %s/%s: %w", p.Account, p.Container, err)
		}
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	a.mu.Lock()
	a.size -= size
	a.mu.Unlock()
	return nil
}

var errNoPart = errors.New("cdn: not a part of an access log")

// readPart reads a file of the spool. A line that was torn when the process was
// killed is left out.
func readPart(path string) (p LogPart, size int64, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return p, 0, err
	}
	size = int64(len(data))
	head, lines, _ := bytes.Cut(data, []byte("\n"))
	if err := json.Unmarshal(head, &p); err != nil || !p.sound() {
		return p, size, errNoPart
	}
	lines = lines[:bytes.LastIndexByte(lines, '\n')+1]
	if len(lines) == 0 {
		return p, size, nil
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := io.Copy(z, bytes.NewReader(lines)); err != nil {
		return p, size, err
	}
	err = z.Close()
	p.Lines = out.Bytes()
	return p, size, err
}
