package ftp

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/afero"
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

var testCertificate = sync.OnceValue(func() *Certificate {
	dir, err := os.MkdirTemp("", "ftp-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	c, err := SelfSigned(dir)
	if err != nil {
		panic(err)
	}
	return c
})

func withTLS(s *Server) { s.TLS = testCertificate().Config() }

// A desk is where real clients work: a directory of files, and a server with a
// house behind it.
type desk struct {
	*bench
	*house
	t          testing.TB
	dir        string
	host, port string
}

func newDesk(t testing.TB, configure ...func(*Server)) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir(), house: newHouse(t)}
	d.bench = start(t, nil, append([]func(*Server){withTLS, d.house.login}, configure...)...)
	d.host, d.port, _ = net.SplitHostPort(d.addr)
	return d
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
	cmd.Env = append(os.Environ(), "HOME="+d.dir, "LC_ALL=C.UTF-8", "RCLONE_CONFIG="+filepath.Join(d.dir, "none"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// tree is a directory of files as people have them.
func (d *desk) tree(name string, n int) map[string]string {
	d.t.Helper()
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("d%d/e%d/file %04d.txt", i%7, i%3, i)] = strings.Repeat(fmt.Sprintf("line %d\n", i), i)
	}
	files["empty"] = ""
	files["ünïcode ☃/with spaces 'and' quotes.bin"] = "\x00\r\n\n\r\xff"
	files["big"] = strings.Repeat("0123456789abcdef", 1<<16)
	for path, content := range files {
		path = filepath.Join(d.dir, name, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			d.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			d.t.Fatal(err)
		}
		mtime := time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)
		if err := os.Chtimes(path, mtime, mtime); err != nil {
			d.t.Fatal(err)
		}
	}
	return files
}

// wantTree checks that a directory of fsys holds files and nothing else.
func (d *desk) wantTree(fsys afero.Fs, dir string, files map[string]string) {
	d.t.Helper()
	var found []string
	err := afero.Walk(fsys, dir, func(path string, in os.FileInfo, err error) error {
		if err == nil && !in.IsDir() {
			found = append(found, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		d.t.Error(err)
	}
	for _, name := range found {
		if _, ok := files[name]; !ok {
			d.t.Errorf("%s/%s should not be there", dir, name)
		}
	}
	for name, content := range files {
		if !slices.Contains(found, name) {
			d.t.Errorf("%s/%s is missing", dir, name)
		} else {
			wantFile(d.t, fsys, dir+"/"+name, content)
		}
	}
}

// ways are the ways in which clients reach the server.
var ways = map[string]func(*Server){
	"clear":    func(*Server) {},
	"explicit": func(s *Server) { s.RequireTLS = RequireAlways },
	"implicit": func(s *Server) { s.RequireTLS, s.Implicit = RequireAlways, true },
}

func TestCurl(t *testing.T) {
	curl := tool(t, "curl", "curl")
	for way, configure := range ways {
		t.Run(way, func(t *testing.T) {
			d := newDesk(t, configure)
			url := "ftp://" + d.addr
			args := []string{"-sS", "-k", "--user", testUser + ":" + testPassword}
			switch way {
			case "explicit":
				args = append(args, "--ssl-reqd")
			case "implicit":
				url = "ftps://" + d.addr
			}
			run := func(more ...string) string { t.Helper(); return d.run("", curl, append(args, more...)...) }
			files := d.tree("local", 3)
			run("--ftp-create-dirs", "-T", filepath.Join(d.dir, "local/big"), url+"/c/a/b/big")
			wantFile(t, d.session(), "/c/a/b/big", files["big"])
			if got := run(url + "/c/a/b/big"); got != files["big"] {
				t.Errorf("get = %s", brief(got))
			}
			if got := run("--disable-epsv", "-r", "16-31", url+"/c/a/b/big"); got != "0123456789abcdef" {
				t.Errorf("a range = %s", brief(got))
			}
			run("-T", filepath.Join(d.dir, "local/empty"), url+"/c/empty")
			wantFile(t, d.session(), "/c/empty", "")
			if got := run(url + "/c/empty"); got != "" {
				t.Errorf("an empty file = %s", brief(got))
			}
			if got := run("-l", url+"/c/"); got != "a\nempty\n" && got != "a\r\nempty\r\n" {
				t.Errorf("list = %q", got)
			}
			if got := run(url + "/c/a/b/"); !strings.Contains(got, "1048576") || !strings.HasPrefix(got, "-rw-r--r--") {
				t.Errorf("list = %q", got)
			}
			if got := run("-I", url+"/c/a/b/big"); !strings.Contains(got, "Content-Length: 1048576") || !strings.Contains(got, "Last-Modified") {
				t.Errorf("head = %q", got)
			}
			run("-Q", "DELE /c/empty", "-Q", "RNFR /c/a/b/big", "-Q", "RNTO /c/moved", "-Q", "RMD /c/a/b", "-l", url+"/c/")
			wantFile(t, d.session(), "/c/moved", files["big"])
			wantAbsent(t, d.session(), "/c/a/b")

			// Resume of an upload.
			write(t, d.session(), "/c/part", files["big"][:100_000])
			run("-C", "100000", "-T", filepath.Join(d.dir, "local/big"), url+"/c/part")
			wantFile(t, d.session(), "/c/part", files["big"])
			run("--append", "-T", filepath.Join(d.dir, "local/big"), url+"/c/part")
			wantFile(t, d.session(), "/c/part", files["big"]+files["big"])
		})
	}
}

func TestLftp(t *testing.T) {
	lftp := tool(t, "lftp", "lftp")
	for way, configure := range ways {
		t.Run(way, func(t *testing.T) {
			d := newDesk(t, configure)
			scheme := "ftp"
			if way == "implicit" {
				scheme = "ftps"
			}
			files := d.tree("local", 60)
			set := "set cmd:fail-exit yes; set ssl:verify-certificate no; set net:max-retries 2; set net:timeout 10; set ftp:ssl-protect-data yes; "
			if way == "clear" {
				set += "set ftp:ssl-allow no; "
			}
			script := set + fmt.Sprintf("open -u '%s','%s' %s://%s; ", testUser, testPassword, scheme, d.addr)
			d.run("", lftp, "-c", script+"mirror -R --parallel=8 local /c/tree; ls /c/tree; mirror --parallel=8 /c/tree back; chmod 600 /c/tree/big; mv /c/tree /c/moved; du -s /c/moved; pget -n 4 /c/moved/big -o big2; rm -r /c/moved/d0")
			d.wantTree(afero.NewOsFs(), filepath.Join(d.dir, "back"), files)
			for name := range files {
				if strings.HasPrefix(name, "d0/") {
					delete(files, name)
				}
			}
			d.wantTree(d.session(), "/c/moved", files)
			wantFile(t, afero.NewOsFs(), filepath.Join(d.dir, "big2"), files["big"])
			in, err := d.session().Stat("/c/moved/big")
			if want := time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC); err != nil || !in.ModTime().Equal(want) {
				t.Errorf("mtime of what was mirrored = %v, %v; want %v", in.ModTime(), err, want)
			}
			// A second mirror has nothing to do.
			if out := d.run("", lftp, "-c", script+"mirror -R --only-newer --dry-run local/d1 /c/moved/d1"); strings.Contains(out, "put ") {
				t.Errorf("a mirror of what is there wants to send: %s", out)
			}
		})
	}
}

func TestMirrorOfManyFiles(t *testing.T) {
	lftp := tool(t, "lftp", "lftp")
	d := newDesk(t)
	files := map[string]string{}
	for i := range 2000 {
		name := fmt.Sprintf("%d/%d/f%04d", i%10, i%3, i)
		files[name] = strings.Repeat("x", i)
		path := filepath.Join(d.dir, "local", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf("set cmd:fail-exit yes; set ftp:ssl-allow no; open -u '%s','%s' ftp://%s; ", testUser, testPassword, d.addr)
	d.run("", lftp, "-c", script+"mirror -R --parallel=8 local /c/tree; mirror --parallel=8 /c/tree back")
	d.wantTree(d.session(), "/c/tree", files)
	d.wantTree(afero.NewOsFs(), filepath.Join(d.dir, "back"), files)
}

// An upload that was cut off is resumed the way each client has for it, and what
// it replaces is there until then.
func TestClientsResume(t *testing.T) {
	curl, lftp := tool(t, "curl", "curl"), tool(t, "lftp", "lftp")
	d := newDesk(t)
	files := d.tree("local", 0)
	for client, resume := range map[string]func(name string){
		"curl": func(name string) {
			d.run("", curl, "-sS", "--user", testUser+":"+testPassword, "-C", "-", "-T", "local/big", "ftp://"+d.addr+name)
		},
		"lftp": func(name string) {
			d.run("", lftp, "-c", fmt.Sprintf("set cmd:fail-exit yes; set ftp:ssl-allow no; open -u '%s','%s' ftp://%s; put -c local/big -o %s", testUser, testPassword, d.addr, name))
		},
	} {
		for _, over := range []bool{false, true} {
			name := fmt.Sprintf("/c/%s-%v", client, over)
			if over {
				write(t, d.session(), name, "old")
			}
			c := d.bench.login(t)
			c.cut("STOR "+name, files["big"][:333_333])
			c.want("QUIT", 221)
			in, err := d.store.Stat(context.Background(), objectPath(filepath.Base(name)))
			if over != (err == nil) || over && in.Size != 3 {
				t.Errorf("%s: after the cut others see %v, %v", name, in, err)
			}
			resume(name)
			wantFile(t, d.session(), name, files["big"])
			sent := d.operations()
			if last := sent[len(sent)-1]; last.Bytes != 1<<20-333_333 {
				t.Errorf("%s: %d bytes were sent to resume", name, last.Bytes)
			}
		}
	}
}

func TestTnftp(t *testing.T) {
	tnftp := tool(t, "tnftp", "tnftp")
	d := newDesk(t)
	files := d.tree("local", 5)
	script := fmt.Sprintf(`open %s %s
user %s "%s"
binary
cd /c
mkdir sub
cd sub
lcd local
put big
put empty "with space"
rename empty2 x
size big
modtime big
ls
nlist
rename big big2
get big2 ../got
lcd ..
put local/empty a.txt
put local/empty b.txt
put local/empty c.bin
prompt
!mkdir one
lcd one
mget *.txt
chmod 600 big2
delete a.txt
pwd
system
rhelp
quit
`, d.host, d.port, testUser, testPassword)
	out := d.run(script, tnftp, "-n", "-v")
	t.Log(out)
	if strings.Contains(out, "\n500") || strings.Contains(out, "\n501") {
		t.Errorf("a command was not understood:\n%s", out)
	}
	wantFile(t, d.session(), "/c/sub/big2", files["big"])
	wantFile(t, afero.NewOsFs(), filepath.Join(d.dir, "got"), files["big"])
	wantFile(t, d.session(), "/c/sub/with space", "")
	wantAbsent(t, d.session(), "/c/sub/a.txt")
	for name, want := range map[string]bool{"a.txt": true, "b.txt": true, "c.bin": false} {
		if _, err := os.Stat(filepath.Join(d.dir, "one", name)); (err == nil) != want {
			t.Errorf("mget *.txt and %s: %v", name, err)
		}
	}
}

func TestNcftp(t *testing.T) {
	put, get, ls := tool(t, "ncftpput", "ncftp"), tool(t, "ncftpget", "ncftp"), tool(t, "ncftpls", "ncftp")
	d := newDesk(t)
	files := d.tree("local", 9)
	login := []string{"-u", testUser, "-p", testPassword, "-P", d.port}
	d.run("", put, append(slices.Clone(login), "-R", "-m", d.host, "/c", "local")...)
	d.wantTree(d.session(), "/c/local", files)
	if err := os.Mkdir(filepath.Join(d.dir, "back"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.run("", get, append(slices.Clone(login), "-R", d.host, "back", "/c/local")...)
	d.wantTree(afero.NewOsFs(), filepath.Join(d.dir, "back/local"), files)
	if out := d.run("", ls, append(slices.Clone(login), "-l", "ftp://"+d.host+"/c/local/")...); !strings.Contains(out, "big") {
		t.Errorf("ls = %q", out)
	}
}

func TestRclone(t *testing.T) {
	rclone := tool(t, "rclone", "rclone")
	for way, configure := range ways {
		t.Run(way, func(t *testing.T) {
			d := newDesk(t, configure)
			files := d.tree("local", 40)
			obscured := strings.TrimSpace(d.run("", rclone, "obscure", testPassword))
			remote := fmt.Sprintf(":ftp,host=%s,port=%s,user=%s,pass=%s,no_check_certificate=true", d.host, d.port, testUser, obscured)
			switch way {
			case "explicit":
				remote += ",explicit_tls=true"
			case "implicit":
				remote += ",tls=true"
			}
			run := func(args ...string) string { t.Helper(); return d.run("", rclone, args...) }
			run("copy", "local", remote+":c/r")
			d.wantTree(d.session(), "/c/r", files)
			run("check", "--download", "local", remote+":c/r")
			run("copy", remote+":c/r", "back")
			d.wantTree(afero.NewOsFs(), filepath.Join(d.dir, "back"), files)
			if out := run("copy", "-v", "--stats=0", "local", remote+":c/r"); strings.Contains(out, "Copied") {
				t.Errorf("a copy of what is there has sent: %s", out)
			}
			run("moveto", remote+":c/r/big", remote+":c/big")
			wantFile(t, d.session(), "/c/big", files["big"])
			if out := run("lsf", "-R", remote+":c/r/ünïcode ☃"); !strings.HasSuffix(out, "\nwith spaces 'and' quotes.bin\n") {
				t.Errorf("lsf = %q", out)
			}
			run("purge", remote+":c/r")
			wantAbsent(t, d.session(), "/c/r")
		})
	}
}
