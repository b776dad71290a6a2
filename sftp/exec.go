package sftp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/spf13/afero"
	"golang.org/x/crypto/ssh"
)

// A command is one run of something that a client asked to execute.
type command struct {
	*session
	fs     afero.Fs
	in     *bufio.Reader
	out    io.Writer
	errors io.Writer
}

// exec runs a command line: scp, a checksum, df or pwd. What it returns is the
// exit status.
func (c *session) exec(ch ssh.Channel, line string) int { return c.runCommand(ch, ch.Stderr(), line) }

func (c *session) runCommand(inout io.ReadWriter, stderr io.Writer, line string) int {
	m := moving{inout, c}
	x := &command{session: c, fs: c.login.Fs, in: bufio.NewReaderSize(m, 64<<10), out: m, errors: stderr}
	args, err := words(line)
	if err != nil {
		return x.complain(2, "%v", err)
	}
	if len(args) == 0 {
		return x.complain(2, "no command")
	}
	name := args[0].text
	switch name {
	case "scp":
		return x.scp(args[1:])
	case "md5sum", "sha1sum", "sha256sum", "sha384sum", "sha512sum":
		return x.checksums(strings.TrimSuffix(name, "sum"), args[1:])
	case "df":
		return x.df(args[1:])
	case "pwd":
		fmt.Fprintln(x.out, "/")
		return 0
	}
	c.Log.Debug("sftp: command refused", "command", printable(name))
	return x.complain(127, "%s: not available: only files are served here", printable(name))
}

// complain tells the client what is wrong.
func (x *command) complain(code int, format string, args ...any) int {
	fmt.Fprintf(x.errors, format+"\n", args...)
	return code
}

// say is complain about a file, in the words the client may have.
func (x *command) say(name string, err error) {
	as := x.answer("exec", name, err)
	fmt.Fprintf(x.errors, "%s: %v\n", printable(name), as)
}

// checksums answers as md5sum and its like do. Without a name they hash what the
// client sends, which is how rclone finds out whether it can use them.
func (x *command) checksums(algorithm string, args []word) int {
	names, err := operands(args, "bt")
	if err != nil {
		return x.complain(2, "%v", err)
	}
	if len(names) == 0 {
		names = []word{{text: "-"}}
	}
	code := 0
	for _, w := range names {
		began := time.Now()
		var sum []byte
		if w.text == "-" {
			sum, err = x.drain(algorithm)
		} else {
			sum, err = x.hashFile(algorithm, resolve(w.text))
			x.finish(Operation{Protocol: "exec", Verb: "hash", Path: resolve(w.text), Began: began, Err: err})
		}
		if err != nil {
			x.say(w.text, err)
			code = 1
			continue
		}
		mark, name := "", w.text
		if strings.ContainsAny(name, "\\\n\r") {
			mark, name = `\`, strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
		}
		if _, err := fmt.Fprintf(x.out, "%s%x  %s\n", mark, sum, name); err != nil {
			return 1
		}
	}
	return code
}

// drain hashes what the client sends. Unlike the hash of a file, it is the
// client that makes this take long, so it does not keep an idle session alive.
func (x *command) drain(algorithm string) ([]byte, error) {
	h := newHash(algorithm)
	_, err := io.Copy(h, x.in)
	return h.Sum(nil), err
}

func (x *command) hashFile(algorithm, name string) ([]byte, error) {
	f, err := x.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errIsDirectory
	}
	if sum := x.keptHash(name, algorithm); sum != nil {
		return sum, nil
	}
	return x.sum(algorithm, f)
}

// df answers in the columns that POSIX gives df -k.
func (x *command) df(args []word) int {
	names, err := operands(args, "kP")
	if err != nil {
		return x.complain(2, "%v", err)
	}
	if len(names) == 0 {
		names = []word{{text: "/"}}
	}
	reporter, ok := x.fs.(SpaceReporter)
	if !ok {
		return x.complain(1, "df: %v", errUnsupported)
	}
	fmt.Fprintln(x.out, "Filesystem     1024-blocks       Used  Available Capacity Mounted on")
	code := 0
	for _, w := range names {
		total, free, err := reporter.StatVFS(resolve(w.text))
		if err != nil {
			x.say(w.text, err)
			code = 1
			continue
		}
		free = min(free, total)
		used, percent := total-free, uint64(0)
		if total > 0 {
			percent = uint64(float64(used)/float64(total)*100 + 0.5)
		}
		fmt.Fprintf(x.out, "memstore       %11d %10d %10d %7d%% /\n", total>>10, used>>10, free>>10, percent)
	}
	return code
}

var errOption = errors.New("unknown option")

// operands are the arguments that are not options; the letters of options that
// change nothing here are in known.
func operands(args []word, known string) ([]word, error) {
	var rest []word
	for i, w := range args {
		switch {
		case w.text == "--":
			return append(rest, args[i+1:]...), nil
		case len(w.text) < 2 || w.text[0] != '-':
			rest = append(rest, w)
		default:
			if strings.Trim(w.text[1:], known) != "" {
				return nil, fmt.Errorf("%w: %s", errOption, printable(w.text))
			}
		}
	}
	return rest, nil
}

// resolve is the path that a name in a command means: "/" is home.
func resolve(name string) string {
	if name == "~" || strings.HasPrefix(name, "~/") {
		name = name[1:]
	}
	return path.Join("/", name)
}

// moving is a channel whose traffic keeps the session from idling.
type moving struct {
	io.ReadWriter
	c *session
}

func (m moving) Read(p []byte) (int, error) {
	n, err := m.ReadWriter.Read(p)
	m.c.touch()
	return n, err
}

func (m moving) Write(p []byte) (int, error) {
	n, err := m.ReadWriter.Write(p)
	m.c.touch()
	return n, err
}
