package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// fileNode is a node with all file doors open.
func fileNode(t *testing.T, change func(*Config)) *node {
	n := testNode(t, func(c *Config) {
		c.SFTP.Listen, c.FTP.Listen, c.FTP.Implicit = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// dialSFTP logs in as the first user.
func dialSFTP(t *testing.T, n *node) *pkgsftp.Client {
	t.Helper()
	conn, err := ssh.Dial("tcp", n.files.sftp.Addr().String(), &ssh.ClientConfig{
		User: strings.Replace(n.user, ":", ".", 1), Auth: []ssh.AuthMethod{ssh.Password(n.password)},
		HostKeyCallback: ssh.FixedHostKey(n.files.hostKeys[0].PublicKey()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client, err := pkgsftp.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// A way is a door as the matrix uses it.
type way interface {
	put(t *testing.T, name string, data []byte, mtime time.Time)
	get(t *testing.T, name string) []byte
	size(t *testing.T, name string) (int64, time.Time)
}

// viaSwift is the Swift door, which is the only one to tell an MD5.
type viaSwift struct {
	n     *node
	token string
}

func (w viaSwift) do(t *testing.T, method, name string, body []byte, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.n.gatewayURL+"/v1/AUTH_demo/"+name, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", w.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s", method, name, resp.Status)
	}
	return resp
}

func (w viaSwift) put(t *testing.T, name string, data []byte, mtime time.Time) {
	w.do(t, "PUT", name, data, "X-Object-Meta-Mtime", strconv.FormatInt(mtime.Unix(), 10))
}

func (w viaSwift) get(t *testing.T, name string) []byte {
	data, err := io.ReadAll(w.do(t, "GET", name, nil).Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (w viaSwift) size(t *testing.T, name string) (int64, time.Time) {
	h := w.do(t, "HEAD", name, nil)
	sec, err := strconv.ParseInt(h.Header.Get("X-Object-Meta-Mtime"), 10, 64)
	if err != nil {
		t.Errorf("%s: mtime %v", name, err)
	}
	return h.ContentLength, time.Unix(sec, 0)
}

type viaSFTP struct{ c *pkgsftp.Client }

func (w viaSFTP) put(t *testing.T, name string, data []byte, mtime time.Time) {
	f, err := w.c.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFrom(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.c.Chtimes(name, mtime, mtime); err != nil {
		t.Fatal(err)
	}
}

func (w viaSFTP) get(t *testing.T, name string) []byte {
	f, err := w.c.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w viaSFTP) size(t *testing.T, name string) (int64, time.Time) {
	list, err := w.c.ReadDir(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range list {
		if in.Name() == filepath.Base(name) {
			return in.Size(), in.ModTime()
		}
	}
	t.Fatalf("%s is not listed", name)
	return 0, time.Time{}
}

// viaFTP is curl, over TLS with the certificate that the node has made.
type viaFTP struct{ n *node }

func (w viaFTP) curl(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	args = append([]string{"-sS", "--ssl-reqd", "--cacert", filepath.Join(w.n.keys(), "ftp.crt"),
		"--user", strings.Replace(w.n.user, ":", ".", 1) + ":" + w.n.password}, args...)
	cmd := exec.CommandContext(t.Context(), "curl", args...)
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl %q: %v: %s", args[5:], err, &errs)
	}
	return out
}

func (w viaFTP) url(name string) string { return "ftp://" + w.n.files.ftp.Addr().String() + "/" + name }

func (w viaFTP) put(t *testing.T, name string, data []byte, mtime time.Time) {
	w.curl(t, data, "-T", "-", "-Q", "-MFMT "+mtime.UTC().Format("20060102150405")+" "+filepath.Base(name), w.url(name))
}

func (w viaFTP) get(t *testing.T, name string) []byte { return w.curl(t, nil, w.url(name)) }

func (w viaFTP) size(t *testing.T, name string) (int64, time.Time) {
	// Beside the size and time of -I there is what a listing says.
	for line := range strings.Lines(string(w.curl(t, nil, "-X", "MLSD", w.url(filepath.Dir(name))+"/"))) {
		facts, base, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if base != filepath.Base(name) {
			continue
		}
		var size int64
		var mtime time.Time
		for fact := range strings.SplitSeq(facts, ";") {
			k, v, _ := strings.Cut(strings.ToLower(fact), "=")
			switch k {
			case "size":
				size, _ = strconv.ParseInt(v, 10, 64)
			case "modify":
				mtime, _ = time.Parse("20060102150405", v[:14])
			}
		}
		return size, mtime
	}
	t.Fatalf("%s is not listed", name)
	return 0, time.Time{}
}

// What is written by one door is the same by every other: bytes, size, MD5 and
// time.
func TestCrossDoors(t *testing.T) {
	needProgram(t, "curl")
	n := fileNode(t, nil)
	id, err := n.realm.Password(t.Context(), auth.Attempt{User: n.user, Door: "swift"}, n.password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := n.realm.Issue(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	swift := viaSwift{n, token.Secret}
	swift.do(t, "PUT", "box", nil)
	ways := map[string]way{"swift": swift, "sftp": viaSFTP{dialSFTP(t, n)}, "ftp": viaFTP{n}}
	mtime := time.Unix(1614834367, 0)
	random := rand.NewChaCha8([32]byte{'d', 'o', 'o', 'r'})
	for _, size := range []int{0, 1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 5 << 20, 100 << 20} {
		if size > 5<<20 && testing.Short() {
			continue // a gigabyte in all
		}
		data := make([]byte, size)
		random.Read(data)
		sum := md5.Sum(data)
		for by, writer := range ways {
			// Over one another, too, so that each finds what another left.
			name := fmt.Sprintf("box/of-%d", size)
			writer.put(t, name, data, mtime)
			if etag := swift.do(t, "HEAD", name, nil).Header.Get("Etag"); etag != hex.EncodeToString(sum[:]) {
				t.Errorf("%d bytes written by %s: ETag %s, want %x", size, by, etag, sum)
			}
			for from, reader := range ways {
				if got := reader.get(t, name); !bytes.Equal(got, data) {
					t.Errorf("%d bytes written by %s: %d others read by %s", size, by, len(got), from)
				}
				if got, at := reader.size(t, name); got != int64(size) || !at.Equal(mtime) {
					t.Errorf("%d bytes written by %s: %s says %d, of %v", size, by, from, got, at)
				}
			}
		}
	}
}

// Sessions that are open when their user is disabled end within a second, idle
// or not, and what they were sending does not appear.
func TestDisableEndsFileSessions(t *testing.T) {
	n := fileNode(t, nil)
	client := dialSFTP(t, n)
	if err := client.Mkdir("/box"); err != nil {
		t.Fatal(err)
	}
	f, err := client.Create("/box/unfinished")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", n.files.ftp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	control := textproto.NewConn(conn)
	say := func(want int, line string) {
		t.Helper()
		if line != "" {
			fmt.Fprintf(conn, "%s\r\n", line)
		}
		if _, text, err := control.ReadResponse(want); err != nil {
			t.Fatalf("%.4s: %v %s", line, err, text)
		}
	}
	say(220, "")
	say(331, "USER demo/admin")
	say(230, "PASS "+n.password)

	begun := time.Now()
	if err := n.realm.SetDisabled(t.Context(), n.user, true); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(5*time.Second, func() { client.Close(); conn.Close() }).Stop() // to fail, not to hang
	io.Copy(io.Discard, conn)
	client.Wait()
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the sessions ended after %v", took)
	}
	if _, err := ssh.Dial("tcp", n.files.sftp.Addr().String(), &ssh.ClientConfig{
		User: n.user, Auth: []ssh.AuthMethod{ssh.Password(n.password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}); err == nil {
		t.Error("a disabled user was let in")
	}
	if err := n.realm.SetDisabled(t.Context(), n.user, false); err != nil {
		t.Fatal(err)
	}
	if status, list := do(t, http.DefaultClient, n, "GET", "/box", ""); status >= 300 || list != "" {
		t.Errorf("the container holds %q (%d), want nothing", list, status)
	}
}

// WinSCP writes NAME.filepart, goes on at its end after a cut, without O_APPEND,
// and renames it over NAME when it is whole.
func TestUploadAsWinSCP(t *testing.T) {
	n := fileNode(t, nil)
	data := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{'w'}).Read(data)
	client := dialSFTP(t, n)
	if err := client.Mkdir("/box"); err != nil {
		t.Fatal(err)
	}
	viaSFTP{client}.put(t, "/box/file", []byte("before"), time.Now())
	f, err := client.Create("/box/file.filepart")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data[:1<<20]); err != nil {
		t.Fatal(err)
	}
	client.Close() // the line drops

	client = dialSFTP(t, n)
	in, err := client.Stat("/box/file.filepart")
	if err != nil {
		t.Fatal(err)
	}
	if in.Size() != 1<<20 {
		t.Fatalf("%d bytes are kept, want %d", in.Size(), 1<<20)
	}
	if f, err = client.OpenFile("/box/file.filepart", os.O_WRONLY); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data[in.Size():], in.Size()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := (viaSFTP{client}).get(t, "/box/file"); string(got) != "before" {
		t.Errorf("before the rename there is %.20q", got)
	}
	if err := client.PosixRename("/box/file.filepart", "/box/file"); err != nil {
		t.Fatal(err)
	}
	if got := (viaSFTP{client}).get(t, "/box/file"); !bytes.Equal(got, data) {
		t.Errorf("%d bytes after the rename, not those that were sent", len(got))
	}
	if _, list := do(t, http.DefaultClient, n, "GET", "/box", ""); list != "file\n" {
		t.Errorf("the container holds %q, want the file alone", list)
	}
}

// A node that closes lets an upload that is under way finish, and leaves nothing
// running.
func TestDrainLetsFilesFinish(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	n := testNode(t, func(c *Config) { c.SFTP.Listen, c.FTP.Listen = "127.0.0.1:0", "127.0.0.1:0" })
	client := dialSFTP(t, n)
	if err := client.Mkdir("/box"); err != nil {
		t.Fatal(err)
	}
	f, err := client.Create("/box/file")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("begun ")); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- n.close() }()
	for !n.draining.Load() {
		// The node has begun to close, or is about to.
	}
	if _, err := f.Write([]byte("and ended")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	client.Close()
	again := &Loaded{Config: n.conf.Config, Sources: map[string]string{}}
	n, err = start(context.Background(), again, n.log)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	in, err := n.store.Stat(auth.NewContext(t.Context(), auth.Identity{User: "demo:admin", Account: "demo", Role: auth.RoleAdmin}), storage.Path{Account: "AUTH_demo", Container: "box", Object: "file"})
	if err != nil || in.Size != 15 {
		t.Errorf("after the restart: %d bytes, %v; want 15", in.Size, err)
	}
}

// The FTP door has the gateway's certificate if it has none of its own, and the
// next one after SIGHUP.
func TestFTPCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := x509.NewCertPool()
	roots.AddCert(selfSigned(t, cert, key, 1))
	n := fileNode(t, func(c *Config) { c.Gateway.Certificate, c.Gateway.Key = cert, key })
	serial := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", n.files.ftps.Addr().String(), &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	want(t, "serial number", serial(), int64(1))
	if _, err := os.Stat(filepath.Join(n.keys(), "ftp.crt")); !os.IsNotExist(err) {
		t.Errorf("a certificate was made that nobody needs: %v", err)
	}
	roots.AddCert(selfSigned(t, cert, key, 2))
	if err := reload(n, new(slog.LevelVar), func() (*Loaded, error) { return n.conf, nil }, n.log); err != nil {
		t.Fatal(err)
	}
	want(t, "serial number after reloading", serial(), int64(2))
}

func TestParsePublicFor(t *testing.T) {
	got, err := parsePublicFor("10.1.2.3/8=10.0.0.5, 192.168.0.0/16=")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "networks", len(got), 2)
	want(t, "10.0.0.0/8", got[netip.MustParsePrefix("10.0.0.0/8")], "10.0.0.5")
	for _, bad := range []string{"10.0.0.0/8", "x=y", "10.0.0.0/8=a,10.0.0.0/8=b"} {
		if _, err := parsePublicFor(bad); err == nil {
			t.Errorf("parsePublicFor(%q) succeeds", bad)
		}
	}
	for _, bad := range []string{"1", "0-5", "5-1", "1-65536", "a-b", "-"} {
		if _, err := parsePorts(bad); err == nil {
			t.Errorf("parsePorts(%q) succeeds", bad)
		}
	}
}
