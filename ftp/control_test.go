package ftp

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/afero"
)

// A script is what a client says and the codes it hears. What stands behind a
// code must be in the reply.
type script []struct {
	say  string
	code int
	in   string
}

func (s script) run(t *testing.T, c *client) {
	t.Helper()
	for _, line := range s {
		if got := c.want(line.say, line.code); !strings.Contains(got, line.in) {
			t.Errorf("%s: %q, want %q in it", line.say, got, line.in)
		}
	}
}

func TestBeforeLogin(t *testing.T) {
	c := start(t, memFs(t)).dial(t)
	c.want("", 220)
	script{
		{"NOOP", 200, ""}, {"SYST", 215, "UNIX"}, {"FEAT", 211, "UTF8"}, {"CLNT me", 200, ""}, {"OPTS UTF8 ON", 200, ""},
		{"HELP", 214, "RETR"}, {"PASS x", 503, ""}, {"AUTH TLS", 502, ""}, {"PROT P", 503, ""}, {"PBSZ 0", 200, ""},
	}.run(t, c)
	for _, verb := range []string{"CWD", "PWD", "LIST", "RETR", "STOR", "DELE", "SITE", "PASV", "EPSV", "STAT", "MLST", "SIZE", "HASH", "XMD5", "RNFR", "ABOR"} {
		c.want(verb+" x", 530)
	}
	c.want("NONSENSE", 500)
	c.want("PORT 127,0,0,1,1,1", 502)
}

func TestCommands(t *testing.T) {
	h := newHouse(t)
	write(t, h.session(), "/c/f", "hello")
	md5sum := fmt.Sprintf("%x", md5.Sum([]byte("hello")))
	sha := fmt.Sprintf("%x", sha256.Sum256([]byte("hello")))
	shaELL := fmt.Sprintf("%x", sha256.Sum256([]byte("ell")))
	c := start(t, nil, h.login, func(s *Server) {
		login := s.Password
		s.Password = func(ctx context.Context, a Attempt, p string) (Login, error) {
			l, err := login(ctx, a, p)
			if err == nil {
				l.Fs = &spaceFs{Fs: l.Fs}
			}
			return l, err
		}
	}).login(t)
	script{
		{"FEAT", 211, "MLST Type*;Size*;Modify*;Perm*;UNIX.mode*;"},
		{"FEAT", 211, "HASH SHA-256*;SHA-512;SHA-1;MD5;CRC32"},
		{"FEAT", 211, "AVBL"}, {"FEAT", 211, "TVFS"}, {"FEAT", 211, "MFMT"}, {"FEAT", 211, "REST STREAM"},
		{"OPTS MLST type;size;nonsense;", 200, "MLST OPTS Type;Size;"},
		{"MLST c/f", 250, "Type=file;Size=5; /c/f"},
		{"FEAT", 211, "MLST Type*;Size*;Modify;Perm;UNIX.mode;"},
		{"OPTS MLST", 200, "MLST OPTS"}, {"MLST c/f", 250, "  /c/f"},
		{"OPTS UTF8 OFF", 504, ""}, {"OPTS NONSENSE", 501, ""},
		{"PWD", 257, `"/"`}, {"CWD c", 250, ""}, {"PWD", 257, `"/c"`}, {"CDUP", 250, ""}, {"XPWD", 257, `"/"`}, {"CWD ~", 250, ""},
		{"CWD nowhere", 550, "no such file"}, {"CWD c/f", 550, ""}, {"CWD /c", 250, ""}, {"CWD ../../..", 250, ""}, {"PWD", 257, `"/"`}, {"CWD /c", 250, ""},
		{"SIZE f", 213, "5"}, {"SIZE .", 550, ""}, {"SIZE g", 550, "no such file or directory"},
		{"TYPE A", 200, ""}, {"SIZE f", 213, "5"}, {"TYPE I", 200, ""}, {"TYPE E", 504, ""}, {"TYPE L 8", 200, ""},
		{"MODE S", 200, ""}, {"MODE Z", 504, ""}, {"STRU F", 200, ""}, {"STRU R", 504, ""},
		{"MFMT 20210304050607 f", 213, "Modify=20210304050607; f"}, {"MDTM f", 213, "20210304050607"},
		{"MDTM 20220304050607 f", 213, ""}, {"MDTM f", 213, "20220304050607"}, {"MDTM 20220304050607 g", 550, ""},
		{"MFMT yesterday f", 501, ""}, {"MDTM g", 550, ""},
		{"SITE CHMOD 600 f", 200, ""}, {"SITE CHMOD", 501, ""}, {"SITE CHMOD 600", 501, ""}, {"SITE CHMOD 999 f", 501, ""}, {"SITE CHMOD 600 g", 550, ""},
		{"SITE UTIME 20230304050607 f", 200, ""}, {"MDTM f", 213, "20230304050607"},
		{"SITE UTIME 202404050607 f", 200, ""}, {"MDTM f", 213, "20240405060700"},
		{"SITE UTIME f 20200101000000 20250101000000 20200101000000 UTC", 200, ""}, {"MDTM f", 213, "20250101000000"},
		{"SITE UTIME f", 501, ""}, {"SITE RMDIR /c", 504, ""}, {"SITE MKDIR /d/e", 504, ""}, {"SITE CPFR f", 504, ""}, {"SITE HELP", 214, ""},
		{"HASH f", 213, "SHA-256 0-5 " + sha + " f"}, {"OPTS HASH MD5", 200, "MD5"}, {"HASH f", 213, "MD5 0-5 " + md5sum + " f"},
		{"OPTS HASH", 200, "MD5"}, {"OPTS HASH MD4", 501, ""},
		{"XMD5 f", 250, md5sum}, {"XMD5 \"f\"", 250, md5sum}, {"MD5 f", 251, "f " + strings.ToUpper(md5sum)}, {"XSHA256 f", 250, sha},
		{"XSHA256 f 1 4", 250, shaELL}, {"XSHA256 \"f\" 1 4", 250, shaELL}, {"XSHA256 f 4 1", 554, ""}, {"XSHA256 f 0 9", 554, ""}, {"XCRC f", 250, "3610a686"},
		{"XSHA1 g", 550, ""}, {"XSHA512 .", 550, "is a directory"}, {"XMD5 \"f", 501, ""}, {"XMD5 \"f\" x", 501, ""},
		{"ALLO 100", 200, ""}, {"ALLO 100 R 10", 200, ""}, {"ALLO 9999", 552, "quota"}, {"ALLO x", 501, ""}, {"AVBL", 213, "1000"}, {"AVBL /c", 213, "1000"},
		{"REST -5", 501, ""}, {"REST x", 501, ""}, {"REST 99999999999999999999", 501, ""}, {"REST 0", 350, ""},
		{"MKD d", 257, `"/c/d"`}, {"MKD d", 550, "file exists"}, {"DELE d", 550, "is a directory"}, {"RMD f", 550, ""}, {"MKD d/e", 257, ""},
		{"RMD d", 550, "not empty"}, {"RMD d/e", 250, ""}, {"RNFR g", 550, ""}, {"RNTO h", 503, ""}, {"RNFR d", 350, ""}, {"RNTO e", 250, ""},
		{"MKD trailing ", 257, `"/c/trailing "`}, {"RMD trailing", 550, ""}, {"RMD trailing ", 250, ""},
		{"RMD e", 250, ""}, {"RNFR f", 350, ""}, {"RNTO f2", 250, ""}, {"SIZE f2", 213, "5"}, {"DELE f2", 250, ""}, {"DELE f2", 550, "no such file"},
		{"STAT", 211, "logged in as ann:tester"}, {"STAT /c", 212, ""}, {"STAT /none", 550, ""},
		{"EPSV ALL", 200, ""}, {"PASV", 503, ""}, {"EPSV 2", 522, "(1)"}, {"EPSV 1", 229, ""}, {"EPSV", 229, ""},
		{"CWD", 501, ""}, {"USER x", 503, ""}, {"PASS x", 503, ""}, {"ABOR", 226, ""}, {"noop", 200, ""},
		{"EPRT |1|127.0.0.1|80|", 502, ""}, {"REIN", 502, ""}, {"ACCT x", 502, ""}, {"HELP", 214, "XSHA256"}, {"QUIT", 221, ""},
	}.run(t, c)
	c.ended()
}

// A spaceFs is an Fs that knows its space, and hides what else it can do.
type spaceFs struct{ afero.Fs }

func (*spaceFs) StatVFS(string) (total, free uint64, err error) { return 2000, 1000, nil }

func TestListings(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"/c/a.txt", "/c/b.txt", "/c/sub/x.bin", "/c/-la"} {
		if strings.Contains(name, "sub") {
			h.session().Mkdir("/c/sub", 0o755)
		}
		write(t, h.session(), name, "12345")
		if err := h.session().Chtimes(name, time.Time{}, time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)); err != nil {
			t.Fatal(err)
		}
	}
	c := start(t, nil, h.login).login(t)
	c.want("CWD /c", 250)
	const line = "-rw-r--r-- 1 ftp ftp            5 Jan  2  2020 "
	for _, tt := range []struct{ cmd, want string }{
		{"NLST", "-la\r\na.txt\r\nb.txt\r\nsub\r\n"}, {"NLST -a", "-la\r\na.txt\r\nb.txt\r\nsub\r\n"},
		{"NLST *.txt", "a.txt\r\nb.txt\r\n"}, {"NLST sub", "sub/x.bin\r\n"}, {"NLST sub/*", "sub/x.bin\r\n"}, {"NLST *.none", ""},
		{"NLST a.txt", "a.txt\r\n"}, {"NLST /c/sub/", "/c/sub/x.bin\r\n"}, {"NLST [", ""},
		{"LIST -la sub", line + "x.bin\r\n"}, {"LIST a.txt", line + "a.txt\r\n"}, {"LIST b*", line + "b.txt\r\n"}, {"LIST ./-la", line + "-la\r\n"},
		{"MLSD sub", "Type=file;Size=5;Modify=20200102030405;Perm=adfrw;UNIX.mode=0644; x.bin\r\n"},
	} {
		if tt.cmd == "NLST [" {
			c.data()
			c.want(tt.cmd, 550)
			continue
		}
		if got := c.get(tt.cmd, 226); got != tt.want {
			t.Errorf("%s = %q, want %q", tt.cmd, got, tt.want)
		}
	}
	if got := c.get("MLSD", 226); !strings.Contains(got, "Type=dir;Modify=") || !strings.Contains(got, ";Perm=cdeflmp;UNIX.mode=0755; sub\r\n") {
		t.Errorf("MLSD = %q", got)
	}
	for cmd, code := range map[string]int{"MLSD a.txt": 550, "LIST nowhere": 550, "NLST nowhere": 550, "MLSD nowhere": 550} {
		c.data()
		c.want(cmd, code)
	}
	c.want("REST 3", 350) // concerns no listing
	if got := c.get("NLST *.txt", 226); got != "a.txt\r\nb.txt\r\n" {
		t.Errorf("after REST: %q", got)
	}
	if got := c.want("STAT sub", 212); !strings.Contains(got, line+"x.bin") {
		t.Errorf("STAT = %q", got)
	}
}

// What makes several lines of one must neither leave nor enter.
func TestNoLineIsMadeByAName(t *testing.T) {
	fsys := memFs(t)
	write(t, fsys, "/c/evil\r\n226 done\r\n", "x")
	write(t, fsys, "/c/evil\x1b[2J", "x")
	write(t, fsys, "/c/latin\xe9", "x")
	write(t, fsys, "/c/good", "x")
	c := start(t, fsys).login(t)
	for _, cmd := range []string{"NLST /c", "LIST /c", "MLSD /c"} {
		if got := c.get(cmd, 226); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "good\r\n") {
			t.Errorf("%s = %q", cmd, got)
		}
	}
	if got := c.want("STAT /c", 212); strings.Contains(got, "evil") || strings.Contains(got, "\n226") {
		t.Errorf("STAT = %q", got)
	}
	c.want("MKD /c/a\rb", 501)
	c.want("MKD /c/a\x00b", 501)
	c.want("MKD /c/a\u0085b", 501)
	c.want("MKD /c/a\xe9b", 501)
	c.want("CWD /c/\x1b", 501)
	c.want("RETR /\x00listing", 501)
	c.want("NOOP", 200)
}

// The library stops at 4,096 bytes, and we before it.
func TestLongLines(t *testing.T) {
	b := start(t, memFs(t))
	c := b.login(t)
	c.want("CWD /"+strings.Repeat("x", maxLine-len("CWD /\r\n")), 550)
	c.send("CWD /" + strings.Repeat("x", maxLine))
	c.want("", 500)
	c.ended()
}

func TestPipelining(t *testing.T) {
	fsys := memFs(t)
	write(t, fsys, "/c/f", "content")
	c := start(t, fsys).dial(t)
	io.WriteString(c.conn, "USER "+testUser+"\r\nPASS "+testPassword+"\r\nCWD c\r\nPWD\r\nSIZE f\r\nNOOP\r\n")
	for _, code := range []int{220, 331, 230, 250, 257, 213, 200} {
		c.want("", code)
	}
	// What is sent ahead during a transfer waits, and more than is held as well.
	d := c.data()
	c.want("STOR g", 150)
	io.WriteString(c.conn, "SIZE g\r\n"+strings.Repeat("PWD\r\n", 100)+"QUIT\r\n")
	io.WriteString(d, "1234567")
	d.Close()
	c.want("", 226)
	if got := c.want("", 213); got != "7" {
		t.Errorf("SIZE = %s", got)
	}
	for range 100 {
		c.want("", 257)
	}
	c.want("", 221)
	c.ended()
}

// A client that only speaks, and closes its side, is answered all the same.
func TestClientThatHasSpoken(t *testing.T) {
	c := start(t, memFs(t)).dial(t)
	io.WriteString(c.conn, "USER "+testUser+"\r\nPASS "+testPassword+"\r\nMKD /d\r\n")
	c.conn.(*net.TCPConn).CloseWrite()
	for _, code := range []int{220, 331, 230, 257} {
		c.want("", code)
	}
	c.ended()
}

func TestStoreUnique(t *testing.T) {
	fsys := memFs(t)
	b := start(t, fsys)
	c := b.login(t)
	c.want("CWD /c", 250)
	names := map[string]bool{}
	for _, line := range []string{"STOU", "STOU", "STOU report.txt"} {
		d := c.data()
		name, ok := strings.CutPrefix(c.want(line, 150), "FILE: ")
		if !ok || names[name] {
			t.Errorf("%s: %q", line, name)
		}
		names[name] = true
		io.WriteString(d, name)
		d.Close()
		c.want("", 226)
		wantFile(t, fsys, "/c/"+name, name)
	}
}

// What ALLO announced must arrive, as nothing else tells the whole from a part.
func TestAllocateIsHeldAgainstWhatArrives(t *testing.T) {
	h := newHouse(t)
	c := start(t, nil, h.login).login(t)
	c.want("ALLO 10", 200)
	c.put("STOR /c/f", "half ", 426)
	if got := c.want("SIZE /c/f", 213); got != "5" {
		t.Errorf("SIZE = %s", got)
	}
	c.want("ALLO 10", 200)
	c.want("REST 5", 350)
	c.put("STOR /c/f", "whole", 226)
	wantFile(t, h.session(), "/c/f", "half whole")
	c.put("STOR /c/g", "x", 226) // it concerned that one file
}

// Each error of the filesystem has its words, and its causes stay here.
func TestErrorsKeepTheirCauses(t *testing.T) {
	secret := "/var/lib/secret"
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{os.ErrNotExist, 550, "no such file or directory"}, {os.ErrPermission, 550, "permission denied"},
		{syscall.EDQUOT, 552, "quota exceeded"}, {syscall.ENOSPC, 452, "no space left"}, {syscall.EFBIG, 552, "file too large"},
		{syscall.ENOTEMPTY, 550, "directory is not empty"}, {syscall.ENAMETOOLONG, 553, "name too long"},
		{errors.ErrUnsupported, 504, "not supported"}, {errors.New("disk on fire"), 451, "internal error"},
		{&told{"only pictures belong here"}, 550, "only pictures belong here"},
	} {
		broken := &brokenFs{Fs: memFs(t), err: fmt.Errorf("open %s: %w", secret, tt.err)}
		write(t, broken.Fs, "/c/f", "x")
		b := start(t, broken)
		c := b.login(t)
		for _, cmd := range []string{"MKD /c/d", "DELE /c/f", "RMD /c", "SITE CHMOD 600 /c/f", "MFMT 20200101000000 /c/f", "STAT /c", "XMD5 /c/f"} {
			if got := c.want(cmd, tt.code); got != tt.text {
				t.Errorf("%s, %v: %q, want %q", cmd, tt.err, got, tt.text)
			}
		}
		c.want("RNFR /c/f", 350)
		c.want("RNTO /c/g", tt.code)
		for _, cmd := range []string{"STOR /c/g", "RETR /c/f", "LIST /c", "MLSD /c"} {
			c.data()
			if got := c.want(cmd, tt.code); got != tt.text {
				t.Errorf("%s, %v: %q, want %q", cmd, tt.err, got, tt.text)
			}
		}
		if !strings.Contains(b.logged(), secret) {
			t.Errorf("%v: the log knows nothing of the cause", tt.err)
		}
	}
}

// told is an error with a text for the client.
type told struct{ text string }

func (e *told) Error() string      { return "internal" }
func (e *told) ClientText() string { return e.text }

// A brokenFs fails at all but Stat.
type brokenFs struct {
	afero.Fs
	err error
}

func (b *brokenFs) Mkdir(string, os.FileMode) error                       { return b.err }
func (b *brokenFs) Remove(string) error                                   { return b.err }
func (b *brokenFs) Rename(string, string) error                           { return b.err }
func (b *brokenFs) Chmod(string, os.FileMode) error                       { return b.err }
func (b *brokenFs) Chtimes(string, time.Time, time.Time) error            { return b.err }
func (b *brokenFs) Open(string) (afero.File, error)                       { return nil, b.err }
func (b *brokenFs) OpenFile(string, int, os.FileMode) (afero.File, error) { return nil, b.err }

// A file that cannot be written to its end must not look as though it had been.
func TestFailuresOfFiles(t *testing.T) {
	fsys := memFs(t)
	write(t, fsys, "/c/f", strings.Repeat("x", 1<<20))
	b := start(t, &brittleFs{Fs: fsys, err: syscall.EDQUOT})
	c := b.login(t)
	c.put("STOR /c/write", "x", 552)
	c.put("STOR /c/close", "", 552)
	c.get("RETR /c/f", 552)
	c.want("NOOP", 200)
	ops := b.operations()
	if len(ops) != 3 || slices.ContainsFunc(ops, func(op Operation) bool { return !errors.Is(op.Err, syscall.EDQUOT) }) {
		t.Errorf("operations = %+v", ops)
	}
}

// A brittleFs has files that open, and then fail.
type brittleFs struct {
	afero.Fs
	err error
}

func (b *brittleFs) OpenFile(name string, flag int, mode os.FileMode) (afero.File, error) {
	f, err := b.Fs.OpenFile(name, flag, mode)
	return &brittleFile{f, b.err}, err
}

type brittleFile struct {
	afero.File
	err error
}

func (f *brittleFile) Read([]byte) (int, error)  { return 0, f.err }
func (f *brittleFile) Write([]byte) (int, error) { return 0, f.err }
func (f *brittleFile) Close() error              { f.File.Close(); return f.err }

func TestPanics(t *testing.T) {
	c := start(t, &panicFs{memFs(t)}).login(t)
	c.want("MKD /c/d", 451)
	c.want("MLST /c", 451)
	c.want("XMD5 /c", 451)
	c.data()
	c.want("STOR /c/f", 451)
	c.data()
	c.want("LIST /c", 451)
	c.want("NOOP", 200)
}

type panicFs struct{ afero.Fs }

func (panicFs) Mkdir(string, os.FileMode) error                       { panic("bang") }
func (panicFs) Stat(string) (os.FileInfo, error)                      { panic("bang") }
func (panicFs) OpenFile(string, int, os.FileMode) (afero.File, error) { panic("bang") }

func FuzzCommands(f *testing.F) {
	for _, seed := range []string{
		"USER ann\r\nPASS x\r\n", "\xff\xf4\xff\xf2ABOR\r\n", "LIST -la /\r\nMLSD\r\n", "HASH \"a b\" 1 2\r\n", "SITE UTIME a b c d UTC\r\n",
		"MDTM 20200101000000 x\r\nREST 1\r\nSTOU\r\n", "XCRC c 1 2\r\nEPSV\r\nPASV\r\nSTAT /\r\n", "RNFR c\r\nRNTO d\r\nOPTS MLST x;\r\n", "AUTH TLS\r\nx", "A\nB\rC\r\n",
	} {
		f.Add([]byte(seed))
	}
	fsys := afero.NewMemMapFs()
	fsys.MkdirAll("/c", 0o755)
	b := start(f, afero.NewReadOnlyFs(fsys), func(s *Server) {
		s.Log = slog.New(slog.DiscardHandler)
		s.MaxLoginCommands, s.MaxConnsPerUser, s.MaxConnsPerAddress = -1, -1, -1
	})
	f.Fuzz(func(t *testing.T, said []byte) {
		c := b.login(t)
		if _, err := c.conn.Write(append(said, "\r\nNOOP\r\nQUIT\r\n"...)); err != nil {
			return
		}
		// Whatever was said, all that is heard are replies.
		for {
			line, err := c.ReadLine()
			if err != nil {
				return
			}
			if len(line) < 4 || line[0] != ' ' && (line[0] < '1' || line[0] > '5' || line[3] != ' ' && line[3] != '-') {
				t.Fatalf("%q was answered with %q", said, line)
			}
		}
	})
}
