package sftp

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"github.com/spf13/afero"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testUser     = "ann.tester"
	testPassword = "correct horse"
)

// A bench is a server under test and what it said.
type bench struct {
	*Server
	addr string
	fs   afero.Fs

	mu  sync.Mutex
	log bytes.Buffer
	ops []Operation
}

func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bench) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *bench) operations() []Operation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Operation(nil), b.ops...)
}

var testHostKey = sync.OnceValue(newKey)

func newKey() ssh.Signer {
	_, signer := newKeyPair()
	return signer
}

func newKeyPair() (ed25519.PrivateKey, ssh.Signer) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		panic(err)
	}
	return key, signer
}

// start serves fsys until the test ends; configure may change the server first.
func start(t testing.TB, fsys afero.Fs, configure ...func(*Server)) *bench {
	t.Helper()
	b := &bench{fs: fsys}
	b.Server = &Server{
		HostKeys: []ssh.Signer{testHostKey()},
		Password: func(_ context.Context, a Attempt, password string) (Login, error) {
			if a.User != testUser || password != testPassword {
				return Login{}, fs.ErrPermission
			}
			return Login{Fs: fsys}, nil
		},
		Log: slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Hooks: Hooks{Operation: func(op Operation) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ops = append(b.ops, op)
		}},
	}
	for _, f := range configure {
		f(b.Server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		b.Shutdown(ctx)
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve = %v, want %v", err, ErrServerClosed)
		}
		if strings.Contains(b.logged(), "panic") && !strings.Contains(strings.ToLower(t.Name()), "panic") {
			t.Errorf("the server panicked:\n%s", b.logged())
		}
	})
	return b
}

func clientConfig(auth ...ssh.AuthMethod) *ssh.ClientConfig {
	if len(auth) == 0 {
		auth = []ssh.AuthMethod{ssh.Password(testPassword)}
	}
	return &ssh.ClientConfig{User: testUser, Auth: auth, HostKeyCallback: ssh.FixedHostKey(testHostKey().PublicKey()), Timeout: 10 * time.Second}
}

// dial logs in.
func (b *bench) dial(t testing.TB) *ssh.Client {
	t.Helper()
	c, err := ssh.Dial("tcp", b.addr, clientConfig())
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// client starts an SFTP session with pkg/sftp's client.
func (b *bench) client(t testing.TB, options ...pkgsftp.ClientOption) *pkgsftp.Client {
	t.Helper()
	c, err := pkgsftp.NewClient(b.dial(t), options...)
	if err != nil {
		t.Fatalf("start sftp: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// tempFs is a directory of the machine, and memFs a tree in memory. Both must
// pass everything.
func tempFs(t testing.TB) afero.Fs { return afero.NewBasePathFs(afero.NewOsFs(), t.TempDir()) }

func memFs(testing.TB) afero.Fs { return &serialFs{Fs: afero.NewMemMapFs()} }

// eachFs runs a test over both.
func eachFs(t *testing.T, f func(t *testing.T, fsys afero.Fs)) {
	t.Run("disk", func(t *testing.T) { f(t, tempFs(t)) })
	t.Run("memory", func(t *testing.T) { f(t, memFs(t)) })
}

// serialFs gives the files of afero's MemMapFs what io.ReaderAt and io.WriterAt
// promise: they may be called at the same time, and behind the end is io.EOF.
type serialFs struct {
	afero.Fs
}

type serialFile struct {
	afero.File
	mu sync.Mutex
}

func (s *serialFs) wrap(f afero.File, err error) (afero.File, error) {
	if err != nil {
		return nil, err
	}
	return &serialFile{File: f}, nil
}

func (s *serialFs) Open(name string) (afero.File, error) { return s.wrap(s.Fs.Open(name)) }

func (s *serialFs) OpenFile(name string, flag int, perm os.FileMode) (afero.File, error) {
	return s.wrap(s.Fs.OpenFile(name, flag, perm))
}

func (f *serialFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.File.ReadAt(p, off)
	if err == io.ErrUnexpectedEOF { // what it says behind the end
		err = io.EOF
	}
	return n, err
}

func (f *serialFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.File.WriteAt(p, off)
}

// richFs has every power of extensions.go, and counts how often each was used.
type richFs struct {
	afero.Fs
	total, free          uint64
	copies, kept, rmdirs atomic.Int32
	hashes               map[string]string // what Hash knows: by "algorithm path"
}

var (
	_ SpaceReporter = (*richFs)(nil)
	_ Copier        = (*richFs)(nil)
	_ Hasher        = (*richFs)(nil)
	_ DirRemover    = (*richFs)(nil)
	_ Aborter       = (*richFile)(nil)
	_ Discarder     = (*richFile)(nil)
)

func (r *richFs) StatVFS(string) (total, free uint64, err error) { return r.total, r.free, nil }

func (r *richFs) Copy(from, to string) error {
	data, err := afero.ReadFile(r.Fs, from)
	if err != nil {
		return err
	}
	r.copies.Add(1)
	return afero.WriteFile(r.Fs, to, data, 0o644)
}

func (r *richFs) Hash(name, algorithm string) (string, error) {
	if h, ok := r.hashes[algorithm+" "+name]; ok {
		r.kept.Add(1)
		return h, nil
	}
	return "", errors.ErrUnsupported
}

func (r *richFs) RemoveDir(name string) error {
	r.rmdirs.Add(1)
	return r.Fs.Remove(name)
}

func (r *richFs) OpenFile(name string, flag int, perm os.FileMode) (afero.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return r.Fs.OpenFile(name, flag, perm)
	}
	// As an upload is to be: what is written becomes visible when it is closed,
	// and not if it failed.
	hidden := name + ".upload"
	if old, err := afero.ReadFile(r.Fs, name); err == nil && flag&os.O_TRUNC == 0 {
		if err := afero.WriteFile(r.Fs, hidden, old, perm); err != nil {
			return nil, err
		}
	} else if flag&os.O_CREATE == 0 && err != nil {
		return nil, err
	}
	f, err := r.Fs.OpenFile(hidden, flag&^os.O_EXCL|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	return &richFile{File: f, fs: r, hidden: hidden, name: name}, nil
}

type richFile struct {
	afero.File
	fs           *richFs
	hidden, name string
	failed       error
}

func (f *richFile) TransferError(err error) { f.failed = err }

func (f *richFile) Discard() error {
	return errors.Join(f.File.Close(), f.fs.Fs.Remove(f.hidden))
}

func (f *richFile) Close() error {
	if f.failed != nil {
		return f.Discard()
	}
	return errors.Join(f.File.Close(), f.fs.Fs.Rename(f.hidden, f.name))
}

// content is a text of n bytes in which no stretch is like another.
func content(n int) []byte {
	b := make([]byte, n)
	x := uint64(n)*2862933555777941757 + 3037000493
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func put(t testing.TB, fsys afero.Fs, name string, data []byte) {
	t.Helper()
	if err := afero.WriteFile(fsys, name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t testing.TB, fsys afero.Fs, name string, want []byte) {
	t.Helper()
	got, err := afero.ReadFile(fsys, name)
	if err != nil {
		t.Errorf("read %s: %v", name, err)
		return
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes %.40q, want %d bytes %.40q", name, len(got), got, len(want), want)
	}
}

func wantAbsent(t testing.TB, fsys afero.Fs, name string) {
	t.Helper()
	if _, err := fsys.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat(%s) = %v, want %v", name, err, fs.ErrNotExist)
	}
}

var _ io.Writer = (*bench)(nil)
