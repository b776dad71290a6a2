package sftp

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// exec runs a command and returns what it prints and its exit status.
func (b *bench) command(t testing.TB, line, input string) (out, errs string, code int) {
	t.Helper()
	s, err := b.dial(t).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var stdout, stderr bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(input), &stdout, &stderr
	err = s.Run(line)
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		code = exit.ExitStatus()
	} else if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return stdout.String(), stderr.String(), code
}

func TestCommands(t *testing.T) {
	fsys := &richFs{Fs: tempFs(t), total: 10 << 20, free: 4 << 20, hashes: map[string]string{"md5 /kept": strings.Repeat("0a", 16)}}
	put(t, fsys.Fs, "/f", []byte("hello"))
	put(t, fsys.Fs, "/a b'c", []byte("hello"))
	put(t, fsys.Fs, "/kept", nil)
	fsys.Mkdir("/d", 0o755)
	b := start(t, fsys)
	hello, nothing := md5.Sum([]byte("hello")), md5.Sum(nil)
	hello256 := sha256.Sum256([]byte("hello"))
	for _, c := range []struct {
		line, input, out, errs string
		code                   int
	}{
		{"md5sum f", "", fmt.Sprintf("%x  f\n", hello), "", 0},
		{"md5sum -b -- /f", "", fmt.Sprintf("%x  /f\n", hello), "", 0},
		{`md5sum 'a b'\''c'`, "", fmt.Sprintf("%x  a b'c\n", hello), "", 0},
		{`md5sum a\ b\'c`, "", fmt.Sprintf("%x  a b'c\n", hello), "", 0},
		{"md5sum kept", "", strings.Repeat("0a", 16) + "  kept\n", "", 0},
		{"md5sum", "", fmt.Sprintf("%x  -\n", nothing), "", 0},
		{"md5sum", "hello", fmt.Sprintf("%x  -\n", hello), "", 0},
		{"sha256sum f", "", fmt.Sprintf("%x  f\n", hello256), "", 0},
		{"md5sum none f", "", fmt.Sprintf("%x  f\n", hello), "none: no such file or directory\n", 1},
		{"md5sum d", "", "", "d: is a directory\n", 1},
		{"md5sum --check f", "", "", "unknown option: --check\n", 2},
		{"pwd", "", "/\n", "", 0},
		{"df -k /f", "", "Filesystem     1024-blocks       Used  Available Capacity Mounted on\n" +
			"memstore             10240       6144       4096      60% /\n", "", 0},
		{"", "", "", "no command\n", 2},
		{"sh -c id", "", "", "sh: not available: only files are served here\n", 127},
		{"\x1b[31mrm -rf /", "", "", "?[31mrm: not available: only files are served here\n", 127},
		{"pwd; id", "", "", errSyntax.Error() + "\n", 2},
		{"scp", "", "", "usage: scp -t|-f [-dpqrv] name ...\n", 2},
		{"scp -t -f x", "", "", "usage: scp -t|-f [-dpqrv] name ...\n", 2},
		{"scp -t x y", "", "", "usage: scp -t|-f [-dpqrv] name ...\n", 2},
		{"scp -S sh -t x", "", "", "scp: unknown option -S\n", 2},
	} {
		if out, errs, code := b.command(t, c.line, c.input); out != c.out || errs != c.errs || code != c.code {
			t.Errorf("%q: %q, %q, %d\nwant %q, %q, %d", c.line, out, errs, code, c.out, c.errs, c.code)
		}
	}
	if n := fsys.kept.Load(); n != 1 {
		t.Errorf("a kept hash was used %d times, want once", n)
	}
}

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                     nil,
		"  a\tb  ":             {"a", "b"},
		`'a b' "c d"`:          {"a b", "c d"},
		`a'b'"c"\d`:            {"abcd"},
		`'' ""`:                {"", ""},
		`"a\"b\\c\d\$"`:        {`a"b\c\d$`},
		`'a\b'`:                {`a\b`},
		"'a;b|c&d'":            {"a;b|c&d"},
		`a\;b`:                 {"a;b"},
		"'new\nline'":          {"new\nline"},
		"con\\\ntinued":        {"continued"},
		"a#b":                  {"a#b"},
		"{a,b}~":               {"{a,b}~"},
		"scp -t -- 'it'\\''s'": {"scp", "-t", "--", "it's"},
	} {
		got, err := words(line)
		var texts []string
		for _, w := range got {
			texts = append(texts, w.text)
		}
		if err != nil || !slices.Equal(texts, want) {
			t.Errorf("words(%q) = %q, %v, want %q", line, texts, err, want)
		}
	}
	for _, line := range []string{"a;b", "a&b", "a|b", "a<b", "a>b", "$a", "`a`", "(a", "a)", "a\nb", `"$a"`, "\"`a`\"", "'a", `"a`, `a\`, "a\x00b", "\\\x00", "# a"} {
		if got, err := words(line); err == nil {
			t.Errorf("words(%q) = %q, want an error", line, got)
		}
	}
	for line, want := range map[string]string{"a*": "a*", "'a*'": "", `'*'*`: `\**`, `\[a]?`: `\[a]?`, `[ab]`: `[ab]`} {
		if got, err := words(line); err != nil || got[0].pattern != want {
			t.Errorf("words(%q) has pattern %q, want %q", line, got[0].pattern, want)
		}
	}
}

func FuzzWords(f *testing.F) {
	for _, s := range []string{"scp -t 'a b'", `md5sum a\ b`, `"`, `'*'?`, "$(x)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		list, err := words(line)
		if err != nil {
			return
		}
		// Quoted as a shell would have it, the words come back the same.
		var quoted []string
		for _, w := range list {
			quoted = append(quoted, "'"+strings.ReplaceAll(w.text, "'", `'\''`)+"'")
		}
		again, err := words(strings.Join(quoted, " "))
		if err != nil || len(again) != len(list) {
			t.Fatalf("words(%q) = %q, but quoted %q, %v", line, list, again, err)
		}
		for i := range list {
			if again[i].text != list[i].text || again[i].pattern != "" {
				t.Fatalf("words(%q)[%d] = %q, quoted %q", line, i, list[i], again[i])
			}
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{"C0644 12 name", "D0755 0 dir", "T1 0 2 0", "E", "C0644 12 ../x", "C9 1 a", "C0644 -1 a", "\x01warning"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, err := parseRecord(line)
		if err != nil {
			return
		}
		if r.size < 0 || r.mode&^0o777 != 0 {
			t.Errorf("parseRecord(%q) = %+v", line, r)
		}
		if r.kind == 'C' || r.kind == 'D' {
			if strings.ContainsAny(r.name, "/\x00\n") || r.name == "" || r.name == "." || r.name == ".." {
				t.Errorf("parseRecord(%q) lets %q through", line, r.name)
			}
		}
	})
}

// What a hostile client sends to scp -t ends it, and stays where it belongs.
func TestScpSinkRefusals(t *testing.T) {
	for name, c := range map[string]struct{ args, input string }{
		"a way up":              {"-t d", "C0644 1 ../evil\nx\x00"},
		"the parent":            {"-r -t d", "D0755 0 ..\n"},
		"itself":                {"-r -t d", "D0755 0 .\n"},
		"a path":                {"-t d", "C0644 1 a/b\nx\x00"},
		"an absolute path":      {"-t d", "C0644 1 /evil\nx\x00"},
		"no name":               {"-t d", "C0644 1 \nx\x00"},
		"a NUL":                 {"-t d", "C0644 1 ev\x00il\nx\x00"},
		"an escape":             {"-t d", "C0644 1 ev\x1bil\nx\x00"},
		"no UTF-8":              {"-t d", "C0644 1 \xff\nx\x00"},
		"a negative size":       {"-t d", "C0644 -1 evil\nx\x00"},
		"a size beyond numbers": {"-t d", "C0644 99999999999999999999 evil\nx\x00"},
		"a mode of letters":     {"-t d", "Crwx 1 evil\nx\x00"},
		"a mode too large":      {"-t d", "C100644 1 evil\nx\x00"},
		"an unknown record":     {"-t d", "X\n"},
		"an empty record":       {"-t d", "\n"},
		"no end":                {"-t d", "C0644 1 evil" + strings.Repeat("l", 100_000)},
		"a directory without r": {"-t d", "D0755 0 evil\nE\n"},
		"an end of nothing":     {"-t d", "E\n"},
		"times that are none":   {"-p -t d", "Tx 0 y 0\n"},
		"half a file":           {"-t d", "C0644 1000 evil\nxxx"},
		"no status":             {"-t d", "C0644 1 evil\nx"},
		"a fatal error":         {"-t d", "\x02I give up\n"},
		"too deep":              {"-r -t d", strings.Repeat("D0755 0 n\n", maxDepth+1)},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := &richFs{Fs: memFs(t)}
			fsys.Mkdir("/d", 0o755)
			out, _, code := start(t, fsys).command(t, "scp "+c.args, c.input)
			if code != 1 {
				t.Errorf("exit status %d, saying %q", code, out)
			}
			wantAbsent(t, fsys, "/evil")
			wantAbsent(t, fsys, "/d/evil")
			wantAbsent(t, fsys, "/d/evil.upload")
		})
	}
}

func TestScpSink(t *testing.T) {
	fsys := &richFs{Fs: memFs(t)}
	fsys.Mkdir("/d", 0o755)
	b := start(t, fsys)
	out, errs, code := b.command(t, "scp -r -p -t d",
		"T1234567890 0 1234567890 0\nD0700 0 sub\nC0644 5 one\nhello\x00E\n"+
			"\x01scp: secret: Permission denied\n"+ // the client could not read a file, and goes on
			"C0644 3 two\nfoo\x01read error\n"+ // nor this one to its end
			"C0600 0 three\n\x00")
	if want := "\x00\x00\x00\x00\x00\x00\x00\x01scp: /d/two: the client could not read the file to its end\n\x00\x00"; errs != "" || code != 1 {
		t.Errorf("says %q and %q, exit status %d; want %q and 1", out, errs, code, want)
	}
	wantFile(t, fsys, "/d/sub/one", []byte("hello"))
	wantAbsent(t, fsys, "/d/two")
	wantFile(t, fsys, "/d/three", nil)
	if info, err := fsys.Stat("/d/sub"); err != nil || !info.ModTime().Equal(time.Unix(1234567890, 0)) {
		t.Errorf("times of the directory: %v, %v", info, err)
	}
	verbs := map[string]int{}
	for _, op := range b.operations() {
		verbs[fmt.Sprint(op.Protocol, " ", op.Verb, " ", op.Path, " ", op.Bytes, " ", op.Err == nil)]++
	}
	for _, want := range []string{"scp mkdir /d/sub 0 true", "scp put /d/sub/one 5 true", "scp put /d/two 3 false", "scp put /d/three 0 true"} {
		if verbs[want] != 1 {
			t.Errorf("operations %v lack %q", verbs, want)
		}
	}
}

func TestScpSource(t *testing.T) {
	fsys := memFs(t)
	fsys.MkdirAll("/d/sub", 0o755)
	put(t, fsys, "/d/one", []byte("hello"))
	put(t, fsys, "/d/sub/two", nil)
	put(t, fsys, "/d/.hidden", nil)
	put(t, fsys, "/d/ev\nil", nil)
	b := start(t, fsys)
	acks := strings.Repeat("\x00", 100)
	for line, want := range map[string]string{
		"scp -f d/one":          "C0644 5 one\nhello\x00",
		"scp -f d/o* '/d/*'":    "C0644 5 one\nhello\x00\x01scp: /d/*: no such file or directory\n",
		"scp -f d":              "\x01scp: /d: is a directory\n",
		"scp -f none d/sub/two": "\x01scp: /none: no such file or directory\nC0644 0 two\n\x00",
		"scp -r -f d/s*":        "D0755 0 sub\nC0644 0 two\n\x00E\n",
		"scp -f '/d/ev\nil'":    "\x01scp: /d/ev?il: name cannot be sent\n",
	} {
		out, _, code := b.command(t, line, acks)
		out = strings.ReplaceAll(out, "D0000", "D0755") // afero's memory has directories without permissions
		if out != want || (code == 0) == strings.Contains(want, "\x01") {
			t.Errorf("%q: %q, exit status %d\nwant %q", line, out, code, want)
		}
	}
	if out, _, code := b.command(t, "scp -f d/one", "\x00\x02no room\n"); out != "C0644 5 one\n" || code != 1 {
		t.Errorf("to a client that gives up: %q, %d", out, code)
	}
	if out, _, code := b.command(t, "scp -f d/one", ""); out != "" || code != 1 {
		t.Errorf("to a client that does not begin: %q, %d", out, code)
	}
}

// A file that shrinks while it is sent is padded, as its length was promised,
// and declared bad.
func TestScpSourceOfShrinkingFile(t *testing.T) {
	fsys := memFs(t)
	put(t, fsys, "/f", content(400<<10))
	b := start(t, fsys)
	s, err := b.dial(t).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, _ := s.StdinPipe()
	out, _ := s.StdoutPipe()
	if err := s.Start("scp -f f"); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte{0})
	line := make([]byte, len("C0644 409600 f\n"))
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "C0644 409600 f\n" {
		t.Fatalf("%q, %v", line, err)
	}
	fh, err := fsys.OpenFile("/f", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	fh.Truncate(10)
	fh.Close()
	in.Write([]byte{0, 0})
	in.Close()
	rest, _ := io.ReadAll(out)
	if len(rest) < 400<<10 || !strings.HasPrefix(string(rest[400<<10:]), "\x01scp: /f: file became shorter") {
		t.Errorf("%d bytes, ending in %q", len(rest), rest[min(len(rest), 400<<10):])
	}
	if err := s.Wait(); err == nil {
		t.Error("exit status 0")
	}
}

// Stopping a command in its middle must not leave anything behind.
func TestCommandWhoseClientLeaves(t *testing.T) {
	fsys := &richFs{Fs: memFs(t)}
	ended := make(chan Operation, 1)
	b := start(t, fsys, func(s *Server) { s.Hooks.Operation = func(op Operation) { ended <- op } })
	conn := b.dial(t)
	s, err := conn.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	in, _ := s.StdinPipe()
	out, _ := s.StdoutPipe()
	if err := s.Start("scp -t f"); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "C0644 100 f\nhalf")
	io.ReadFull(out, make([]byte, 2)) // both acknowledgements
	conn.Close()
	if op := <-ended; op.Err == nil || op.Verb != "put" {
		t.Errorf("operation %+v, want a put that failed", op)
	}
	wantAbsent(t, fsys, "/f")
}
