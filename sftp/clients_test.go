package sftp

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/afero"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// tool finds a program, and as root installs the Debian package that has it. A
// test that needs one which cannot be had is skipped, and in CI fails.
func tool(t testing.TB, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getuid() == 0 {
		install := exec.Command("apt-get", "install", "-y", "-qq", "--no-install-recommends", debian)
		install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, ierr := install.CombinedOutput(); ierr != nil {
			t.Logf("install %s: %v\n%s", debian, ierr, out)
		}
		path, err = exec.LookPath(program)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed here: install %s", program, debian)
		}
		t.Skipf("NOT TESTED: %s is missing; install %s", program, debian)
	}
	return path
}

// A desk is where real clients work: a directory of files, and what they need
// to log in to a server.
type desk struct {
	*bench
	t          testing.TB
	root       string // what the server serves
	dir        string // the client's working directory
	key, hosts string
	host, port string
}

func newDesk(t testing.TB, configure ...func(*Server)) *desk {
	t.Helper()
	d := &desk{t: t, root: t.TempDir(), dir: t.TempDir()}
	d.bench = start(t, d.served(), append([]func(*Server){d.keyring}, configure...)...)
	d.host, d.port, _ = net.SplitHostPort(d.addr)
	d.hosts = filepath.Join(t.TempDir(), "known_hosts")
	line := knownhosts.Line([]string{knownhosts.Normalize(d.addr)}, testHostKey().PublicKey())
	if err := os.WriteFile(d.hosts, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// served is the server's directory, as a filesystem that knows its space.
func (d *desk) served() afero.Fs {
	return spaceFs{afero.NewBasePathFs(afero.NewOsFs(), d.root)}
}

type spaceFs struct{ afero.Fs }

func (spaceFs) StatVFS(string) (total, free uint64, err error) { return 1 << 40, 3 << 38, nil }

// keyring makes a key that opens the server, and writes it where ssh finds it.
func (d *desk) keyring(s *Server) {
	key, signer := newClientKey(d.t)
	d.key = filepath.Join(d.t.TempDir(), "id_ed25519")
	if err := os.WriteFile(d.key, key, 0o600); err != nil {
		d.t.Fatal(err)
	}
	fsys := d.served()
	s.Key = func(_ context.Context, a Attempt, key ssh.PublicKey) (Login, error) {
		if !bytes.Equal(key.Marshal(), signer.PublicKey().Marshal()) {
			return Login{}, fs.ErrPermission
		}
		return Login{Fs: fsys}, nil
	}
}

func (d *desk) sshOptions() []string {
	return []string{"-F", "/dev/null", "-i", d.key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile=" + d.hosts, "-o", "StrictHostKeyChecking=yes", "-o", "User=" + testUser}
}

// run runs a program with input and returns what it prints; it fails the test
// unless the program succeeds.
func (d *desk) run(input, program string, args ...string) string {
	d.t.Helper()
	out, err := d.try(input, program, args...)
	if err != nil {
		log := d.logged()
		d.t.Fatalf("%s %q: %v\n%s\nthe server's last words:\n%s", program, args, err, out, log[max(0, len(log)-3000):])
	}
	return out
}

func (d *desk) try(input, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = d.dir
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "HOME="+d.dir, "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (d *desk) write(name string, data []byte) {
	d.t.Helper()
	name = filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func same(t testing.TB, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Error(err)
		return
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Error(err)
		return
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s (%d bytes) and %s (%d bytes) differ", a, len(x), b, len(y))
	}
}

// sameTree compares two directories with everything in them.
func sameTree(t testing.TB, a, b string) {
	t.Helper()
	names := func(root string) []string {
		var list []string
		filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				t.Error(err)
				return nil
			}
			rel, _ := filepath.Rel(root, path)
			if e.IsDir() {
				rel += "/"
			}
			list = append(list, rel)
			return nil
		})
		return list
	}
	x, y := names(a), names(b)
	if !slices.Equal(x, y) {
		t.Errorf("%s has\n%q, and %s\n%q", a, x, b, y)
		return
	}
	for _, n := range x {
		if !strings.HasSuffix(n, "/") {
			same(t, filepath.Join(a, n), filepath.Join(b, n))
		}
	}
}

// tree writes a tree of files below a name in the client's directory.
func (d *desk) tree(name string, files int) {
	for i := range files {
		d.write(fmt.Sprintf("%s/dir %d/ü%03d.txt", name, i%7, i), content(i*37%5000))
	}
	d.write(name+"/empty", nil)
	if err := os.MkdirAll(filepath.Join(d.dir, name, "hollow"), 0o755); err != nil {
		d.t.Fatal(err)
	}
}

func newClientKey(t testing.TB) ([]byte, ssh.Signer) {
	t.Helper()
	key, signer := newKeyPair()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), signer
}

func TestOpenSSHSftp(t *testing.T) {
	sftp := tool(t, "sftp", "openssh-client")
	d := newDesk(t)
	at := func(names ...string) string { return filepath.Join(append([]string{d.root}, names...)...) }
	session := func(lines ...string) string {
		d.t.Helper()
		return d.run(strings.Join(lines, "\n")+"\n", sftp, append(d.sshOptions(), "-b", "-", "-P", d.port, d.host)...)
	}
	d.write("big file", content(20<<20+11))
	when := time.Unix(1111111111, 0)
	os.Chtimes(filepath.Join(d.dir, "big file"), when, when)

	out := session(
		`mkdir up`,
		`put -p -f "big file" up/big`, // -f asks for fsync
		`ls -l up`,
		`get -p up/big back`,
		`copy up/big up/copy`,
		`rename up/copy up/renamed`,
		`-ln up/big up/hard`,
		`-ln -s up/big up/soft`,
	)
	same(t, filepath.Join(d.dir, "big file"), at("up", "big"))
	same(t, filepath.Join(d.dir, "big file"), at("up", "renamed"))
	same(t, filepath.Join(d.dir, "big file"), filepath.Join(d.dir, "back"))
	for _, name := range []string{at("up", "big"), filepath.Join(d.dir, "back")} {
		if info, err := os.Stat(name); err != nil || !info.ModTime().Equal(when) {
			t.Errorf("%s: modification time %v, %v, want %v", name, info.ModTime(), err, when)
		}
	}
	if n := strings.Count(out, "does not support") + strings.Count(out, "peration unsupported"); !strings.Contains(out, "20971531") || n > 2 {
		t.Errorf("sftp says:\n%s", out)
	}
	wantAbsent(t, d.fs, "/up/hard")
	wantAbsent(t, d.fs, "/up/soft")

	t.Run("resume", func(t *testing.T) {
		d.t = t
		whole := content(3 << 20)
		d.write("whole", whole)
		put(t, d.fs, "/part", whole[:1<<20+5])
		session(`reput whole part`)
		wantFile(t, d.fs, "/part", whole)
		d.write("half", whole[:77777])
		session(`reget part half`)
		same(t, filepath.Join(d.dir, "half"), at("part"))
	})
	t.Run("tree", func(t *testing.T) {
		d.t = t
		d.tree("tree", 200)
		session(`put -r tree`, `get -r tree tree2`)
		sameTree(t, filepath.Join(d.dir, "tree"), at("tree"))
		sameTree(t, filepath.Join(d.dir, "tree"), filepath.Join(d.dir, "tree2"))
		session(`rm tree/dir\ 0/*`, `rmdir "tree/dir 0"`)
		wantAbsent(t, d.fs, "/tree/dir 0")
	})
	t.Run("password", func(t *testing.T) {
		d.t = t
		ask := filepath.Join(d.t.TempDir(), "ask")
		os.WriteFile(ask, []byte("#!/bin/sh\necho '"+testPassword+"'\n"), 0o700)
		t.Setenv("SSH_ASKPASS", ask)
		t.Setenv("SSH_ASKPASS_REQUIRE", "force")
		out := d.run("pwd\n", sftp, "-F", "/dev/null", "-o", "PubkeyAuthentication=no", "-o", "UserKnownHostsFile="+d.hosts,
			"-o", "User="+testUser, "-P", d.port, d.host)
		if !strings.Contains(out, "/") {
			t.Errorf("pwd says %q", out)
		}
	})
}

func TestOpenSSHScp(t *testing.T) {
	scp := tool(t, "scp", "openssh-client")
	for _, mode := range []string{"-O", "-s"} { // the old protocol, and SFTP
		t.Run(mode, func(t *testing.T) {
			d := newDesk(t)
			copies := func(args ...string) {
				t.Helper()
				d.run("", scp, slices.Concat(d.sshOptions(), []string{mode, "-P", d.port}, args)...)
			}
			remote := func(name string) string { return d.host + ":" + name }
			for _, size := range []int{0, 1, 32 << 10, 1<<20 + 3} {
				d.write("f", content(size))
				copies("f", remote("g"))
				wantFile(t, d.fs, "/g", content(size))
				copies(remote("g"), "h")
				same(t, filepath.Join(d.dir, "h"), filepath.Join(d.root, "g"))
			}
			d.write("two", content(2))
			os.Mkdir(filepath.Join(d.root, "into"), 0o755)
			copies("f", "two", remote("/into"))
			wantFile(t, d.fs, "/into/two", content(2))
			copies(remote("into/t*"), "matched")
			same(t, filepath.Join(d.dir, "matched"), filepath.Join(d.root, "into", "two"))

			when := time.Unix(1234567890, 0)
			os.Chtimes(filepath.Join(d.dir, "f"), when, when)
			copies("-p", "f", remote("timed"))
			copies("-p", remote("timed"), "back")
			for _, name := range []string{filepath.Join(d.root, "timed"), filepath.Join(d.dir, "back")} {
				if info, err := os.Stat(name); err != nil || !info.ModTime().Equal(when) {
					t.Errorf("%s: modification time %v, %v", name, info.ModTime(), err)
				}
			}

			d.tree("tree", 60)
			copies("-r", "tree", remote("new"))
			sameTree(t, filepath.Join(d.dir, "tree"), filepath.Join(d.root, "new"))
			copies("-r", "-p", remote("new"), "down")
			sameTree(t, filepath.Join(d.dir, "tree"), filepath.Join(d.dir, "down"))

			for what, args := range map[string][]string{
				"a missing file":           {remote("none"), "x"},
				"into a missing directory": {"f", remote("no/where/f")},
				"a directory without -r":   {remote("new"), "x"},
			} {
				out, err := d.try("", scp, slices.Concat(d.sshOptions(), []string{mode, "-P", d.port}, args)...)
				if err == nil {
					t.Errorf("%s: scp succeeds, saying %q", what, out)
				}
			}
		})
	}
}

func TestSshfs(t *testing.T) {
	sshfs := tool(t, "sshfs", "sshfs")
	fusermount := tool(t, "fusermount3", "fuse3")
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	} else {
		f.Close()
	}
	d := newDesk(t)
	mount := t.TempDir()
	d.run("", sshfs, slices.Concat([]string{testUser + "@" + d.host + ":/", mount, "-p", d.port, "-o", "workaround=none"}, []string{"-F", "/dev/null", "-o", "IdentityFile=" + d.key},
		d.sshOptions()[4:len(d.sshOptions())-2])...)
	defer d.run("", fusermount, "-u", mount)
	in := func(name string) string { return filepath.Join(mount, name) }

	data := content(5<<20 + 1)
	if err := os.WriteFile(in("f"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	wantFile(t, d.fs, "/f", data)
	f, err := os.OpenFile(in("f"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("in the middle"), 1<<20); err != nil {
		t.Error(err)
	}
	if err := f.Truncate(4 << 20); err != nil {
		t.Error(err)
	}
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	data = data[:4<<20]
	copy(data[1<<20:], "in the middle")
	wantFile(t, d.fs, "/f", data)
	a, err := os.OpenFile(in("f"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	a.WriteString("and more")
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	wantFile(t, d.fs, "/f", append(data, "and more"...))
	if err := os.Mkdir(in("d"), 0o755); err != nil {
		t.Error(err)
	}
	os.WriteFile(in("d/old"), []byte("old"), 0o644)
	if err := os.Rename(in("f"), in("d/old")); err != nil {
		t.Errorf("rename over a file: %v", err)
	}
	when := time.Unix(1234567890, 0)
	if err := os.Chtimes(in("d/old"), when, when); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(d.root, "d/old")); err != nil || !info.ModTime().Equal(when) {
		t.Errorf("times: %v, %v", info, err)
	}
	if err := os.Remove(in("d")); err == nil {
		t.Error("a directory with a file in it was removed")
	}
	if err := os.RemoveAll(in("d")); err != nil {
		t.Error(err)
	}
	wantAbsent(t, d.fs, "/d")
	var space syscall.Statfs_t
	if err := syscall.Statfs(mount, &space); err != nil {
		t.Errorf("statfs: %v", err)
	} else if total := space.Blocks * uint64(space.Frsize); total != 1<<40 {
		t.Errorf("statfs says %d bytes, want %d", total, 1<<40)
	}
}

func TestLftp(t *testing.T) {
	lftp := tool(t, "lftp", "lftp")
	d := newDesk(t)
	d.tree("tree", 150)
	connect := fmt.Sprintf("set sftp:connect-program \"ssh -a -x %s\"; set net:max-retries 1; set cmd:fail-exit yes; open -u %s,unused -p %s sftp://%s; ",
		strings.Join(d.sshOptions(), " "), testUser, d.port, d.host)
	d.run("", lftp, "--norc", "-c", connect+"mirror -R --parallel=4 tree up; mirror --parallel=4 up down; mv up/empty up/moved; mkdir e; rmdir e; rm up/moved; pget -n 3 \"up/dir 0/ü007.txt\" -o piece")
	sameTree(t, filepath.Join(d.dir, "tree"), filepath.Join(d.dir, "down"))
	same(t, filepath.Join(d.dir, "tree/dir 0/ü007.txt"), filepath.Join(d.dir, "piece"))
	wantAbsent(t, d.fs, "/up/empty")
	wantAbsent(t, d.fs, "/up/moved")
}

func TestPsftp(t *testing.T) {
	psftp := tool(t, "psftp", "putty-tools")
	d := newDesk(t)
	d.write("f", content(3<<20+1))
	d.tree("tree", 30)
	args := []string{"-batch", "-P", d.port, "-l", testUser, "-pw", testPassword,
		"-hostkey", ssh.FingerprintSHA256(testHostKey().PublicKey()), "-b"}
	script := "put f g\nget g h\nmkdir d\nmv g d/g\nls d\nput -r tree up\nget -r up down\nput f part\nreput f part\ndel part\n"
	d.write("script", []byte(script))
	d.run("", psftp, append(args, "script", d.host)...)
	same(t, filepath.Join(d.dir, "f"), filepath.Join(d.root, "d", "g"))
	same(t, filepath.Join(d.dir, "f"), filepath.Join(d.dir, "h"))
	sameTree(t, filepath.Join(d.dir, "tree"), filepath.Join(d.root, "up"))
	sameTree(t, filepath.Join(d.dir, "tree"), filepath.Join(d.dir, "down"))
	wantAbsent(t, d.fs, "/part")
}

// Paramiko is what Python programs use; its name for check-file differs from the
// draft's, and its file mode "a" counts offsets from the end.
func TestParamiko(t *testing.T) {
	python := tool(t, "/usr/bin/python3", "python3") // where Debian's packages are
	d := newDesk(t)
	if out, err := d.try("", python, "-c", "import paramiko"); err != nil {
		if os.Getuid() == 0 {
			d.run("", "apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-paramiko")
		} else if os.Getenv("CI") == "true" {
			t.Fatalf("paramiko is needed here: install python3-paramiko\n%s", out)
		} else {
			t.Skip("NOT TESTED: paramiko is missing; install python3-paramiko")
		}
	}
	d.write("f", content(2<<20+1))
	d.write("go.py", fmt.Appendf(nil, `
import paramiko, hashlib
t = paramiko.Transport((%q, %s))
t.connect(username=%q, password=%q)
s = paramiko.SFTPClient.from_transport(t)
s.put("f", "/up")
s.get("/up", "down")
s.mkdir("/d")
s.posix_rename("/up", "/d/up")
with s.open("/d/up", "a") as f:
    f.write(b"and more")
with s.open("/d/up", "r+") as f:
    f.seek(5)
    f.write(b"HELLO")
with s.open("/d/up", "r") as f:
    assert f.stat().st_size == 2097161, f.stat().st_size
    data = open("f", "rb").read()
    data = data[:5] + b"HELLO" + data[10:] + b"and more"
    assert f.check("md5") == hashlib.md5(data).digest()
    f.prefetch()
    assert f.read() == data
s.utime("/d/up", (1234567890, 1234567890))
assert s.stat("/d/up").st_mtime == 1234567890
assert s.listdir("/d") == ["up"]
try:
    s.stat("/none")
    raise SystemExit("a file that is not there was found")
except FileNotFoundError:
    pass
s.remove("/d/up")
s.rmdir("/d")
t.close()
`, d.host, d.port, testUser, testPassword))
	d.run("", python, "-W", "ignore", "go.py")
	same(t, filepath.Join(d.dir, "f"), filepath.Join(d.dir, "down"))
	wantAbsent(t, d.fs, "/d")
}

// curl with the libssh2 of Debian 12 is one of the clients that Compatible is for.
func TestCurl(t *testing.T) {
	curl := tool(t, "curl", "curl")
	d := newDesk(t, func(s *Server) { s.Compatible = true })
	if out := d.run("", curl, "--version"); !strings.Contains(out, " sftp ") {
		t.Skipf("NOT TESTED: this curl has no SFTP:\n%s", out)
	}
	d.write("f", content(1<<20+1))
	at := func(name string) string { return "sftp://" + net.JoinHostPort(d.host, d.port) + name }
	login := []string{"-sS", "--insecure", "--user", testUser + ":" + testPassword}
	d.run("", curl, append(login, "-T", "f", "--ftp-create-dirs", at("/new/dir/f"))...)
	d.run("", curl, append(login, "-o", "g", at("/new/dir/f"))...)
	same(t, filepath.Join(d.dir, "f"), filepath.Join(d.dir, "g"))
	d.write("half", content(1<<20 + 1)[:300_000])
	d.run("", curl, append(login, "-C", "-", "-o", "half", at("/new/dir/f"))...)
	same(t, filepath.Join(d.dir, "f"), filepath.Join(d.dir, "half"))
	if out := d.run("", curl, append(login, at("/new/"))...); !strings.Contains(out, "dir") {
		t.Errorf("listing: %s", out)
	}
}

// ssh-audit knows what is weak. Versions that do not know ML-KEM yet say so, and
// newer ones miss a post-quantum variant of the other key exchange, which older
// clients need.
func TestSshAudit(t *testing.T) {
	audit := tool(t, "ssh-audit", "ssh-audit")
	d := newDesk(t)
	out, _ := d.try("", audit, "-n", "-p", d.port, d.host)
	if !strings.Contains(out, "ssh-ed25519") {
		t.Fatalf("ssh-audit says:\n%s", out)
	}
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "[fail]") && !strings.Contains(line, "[warn]") {
			continue
		}
		newer := strings.Contains(line, "unknown algorithm") &&
			(strings.Contains(line, "mlkem768x25519-sha256") || strings.Contains(line, "kex-strict-s-v00@openssh.com"))
		if !newer && !(strings.Contains(line, "curve25519-sha256") && strings.Contains(line, "quantum")) {
			t.Error(strings.TrimSpace(line))
		}
	}
	if t.Failed() || testing.Verbose() {
		t.Log(out)
	}
}

func TestRclone(t *testing.T) {
	rclone := tool(t, "rclone", "rclone")
	d := newDesk(t)
	d.tree("tree", 150)
	d.write("rclone.conf", fmt.Appendf(nil, "[m]\ntype = sftp\nhost = %s\nport = %s\nuser = %s\nkey_file = %s\nknown_hosts_file = %s\n",
		d.host, d.port, testUser, d.key, d.hosts))
	flags := []string{"--config", "rclone.conf", "--retries", "1"}
	d.run("", rclone, append(flags, "sync", "tree", "m:up")...)
	d.run("", rclone, append(flags, "sync", "m:up", "down")...)
	sameTree(t, filepath.Join(d.root, "up"), filepath.Join(d.dir, "down"))
	out := d.run("", rclone, append(flags, "check", "-vv", "tree", "m:up")...)
	if !strings.Contains(out, "Using md5") && !strings.Contains(out, "Using sha1") {
		t.Errorf("rclone does not verify by hash:\n%s", out)
	}
	d.run("", rclone, append(flags, "moveto", "m:up/empty", "m:up/moved")...)
	d.run("", rclone, append(flags, "purge", "m:up")...)
	wantAbsent(t, d.fs, "/up")
}
