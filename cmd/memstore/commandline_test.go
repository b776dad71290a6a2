package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// runLine runs a command in this process.
func runLine(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv(envConfig, os.DevNull)
	var out, errs bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// Whoever asks for help is shown how it is done.
func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%q has no example", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(rootCommand())
}

// A slip is answered with what was meant, and with how to go on.
func TestSlips(t *testing.T) {
	for line, want := range map[string]string{
		"sevre":                                 `memstore has no command "sevre"; did you mean serve?`,
		"user ad ann:x":                         `memstore user has no command "ad"; did you mean add?`,
		"user remove ann:x":                     `memstore user has no command "remove"; did you mean rm?`,
		"user frobnicate":                       `memstore user has no command "frobnicate"` + "\nSee \"memstore user --help\".",
		"help nosuch":                           `memstore has no command "nosuch"`,
		"help user nosuch":                      `memstore user has no command "nosuch"`,
		"serve --gatway :1":                     "memstore serve has no flag --gatway; did you mean --gateway?\nusage: memstore serve [flags]\n",
		"serve --password x":                    "memstore serve has no flag --password\n",
		"user add":                              "memstore user add needs ACCOUNT:USER\nusage: memstore user add ACCOUNT:USER [flags]\nSee \"memstore user add --help\".",
		"user key rm":                           "needs ACCOUNT:USER and FINGERPRINT",
		"user list a b":                         `memstore user list takes [ACCOUNT] only, and "b" is too much`,
		"serve extra":                           `memstore serve takes no arguments, and "extra" is one`,
		"user add a:b --generate --no-password": "--generate and --no-password contradict each other",
		"user add a:b --generate --door gopher": `"gopher" is none of the doors, swift, ftp, sftp`,
		"user add a:b --generate --network lan": `"lan" is not a network such as 10.0.0.0/8`,
		"user add nobody":                       "must be written ACCOUNT:USER",
		"user add a:b":                          "no terminal to ask for a password on; use --password-stdin or --generate",
		"user set a:b":                          "nothing is to be changed",
		"user set a:b --role king":              `"king" is none of the roles`,
		"ban lift nobody":                       `"nobody" is not an address`,
	} {
		code, _, stderr := runLine(t, "", append(strings.Fields(line), "--data", t.TempDir())...)
		if code != exitUsage || !strings.Contains(stderr, "memstore: ") || !strings.Contains(stderr, want) {
			t.Errorf("memstore %s exits with %d and says\n%s\nwant 2 and\n%s", line, code, stderr, want)
		}
	}
}

// Each thing that is wrong has a line of its own that says whose it is.
func TestErrorsHaveLines(t *testing.T) {
	file := write(t, "memstore.yaml", "bakend: disk\ndrain: soon\nsweep: 1ms\n")
	code, _, stderr := runLine(t, "", "config", "check", "--config", file)
	if n := strings.Count("\n"+stderr, "\nmemstore: configuration: "); code != exitUsage || n != 3 {
		t.Errorf("config check exits with %d and %d errors, want 2 and 3:\n%s", code, n, stderr)
	}
}

func TestVersionFlag(t *testing.T) {
	_, asFlag, _ := runLine(t, "", "--version")
	_, asCommand, _ := runLine(t, "", "version")
	if asFlag != asCommand || !strings.HasPrefix(asFlag, "memstore ") {
		t.Errorf("--version prints %q, version %q", asFlag, asCommand)
	}
}

func TestServeTellsDefaults(t *testing.T) {
	_, help, _ := runLine(t, "", "serve", "--help")
	for _, want := range []string{`(default "127.0.0.1:8080")`, `(default "disk")`, `(default "info")`} {
		if !strings.Contains(help, want) {
			t.Errorf("serve --help does not tell %s:\n%s", want, help)
		}
	}
}

func TestCompletion(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if code, _, stderr := runLine(t, "", "user", "add", "--data", data, "--generate", "ann:tester"); code != 0 {
		t.Fatal(stderr)
	}
	for line, want := range map[string]string{
		"user passwd --data " + data + " ":     "ann:tester\n",
		"user list --data " + data + " ":       "ann\n",
		"account disable --data " + data + " ": "ann\n",
		"serve --backend ":                     "disk\nmemory\n",
		"serve --log-level ":                   "debug\ninfo\nwarn\nerror\n",
		"user add --door ":                     "swift\nftp\nsftp\n",
	} {
		_, out, _ := runLine(t, "", append([]string{"__complete"}, strings.Split(line, " ")...)...)
		if !strings.HasPrefix(out, want) {
			t.Errorf("memstore %s is completed with\n%s\nwant\n%s", line, out, want)
		}
	}
}

// Users can be changed, and the last who can get at an account's content is not
// removed by a slip.
func TestUserSetAndRm(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	must := func(want int, says string, args ...string) {
		t.Helper()
		code, stdout, stderr := runLine(t, "", append(args, "--data", data)...)
		if code != want || !strings.Contains(stdout+stderr, says) {
			t.Fatalf("memstore %s exits with %d and says\n%s%s\nwant %d and %q", strings.Join(args, " "), code, stdout, stderr, want, says)
		}
	}
	must(0, "is a new one now", "user", "add", "--generate", "ann:boss", "--admin")
	must(0, "user ann:clerk added in "+data, "user", "add", "--generate", "ann:clerk")
	must(exitFailed, "user ann:boss is the last admin of ann", "user", "rm", "ann:boss")
	must(0, "changed", "user", "set", "ann.clerk", "--role", "admin", "--read-only", "--door", "sftp,swift", "--network", "10.1.2.3")
	must(0, "admin, read-only  enabled  sftp,swift  10.1.2.3/32", "user", "list")
	must(0, "changed", "user", "set", "ann.clerk", "--read-only=false", "--door", "all", "--network", "all")
	must(0, "admin  enabled  all    all", "user", "list")
	must(0, "removed", "user", "rm", "ann:boss")
	must(exitFailed, "none of that name", "user", "rm", "ann:boss")
	must(0, "removed", "user", "rm", "ann:clerk", "--force")
	must(exitFailed, "none of that name", "user", "passwd", "ann:clerk") // and no password is asked for
	must(0, "account ann disabled", "account", "disable", "ann")
	must(0, "disabled", "account", "list")
	must(0, "account ann enabled", "account", "enable", "ann")
	must(exitFailed, "none of that name", "account", "enable", "bob")
	must(exitFailed, "203.0.113.5 is not banned", "ban", "lift", "203.0.113.5")
	if code, _, stderr := runLine(t, "short\n", "user", "add", "--password-stdin", "ann:x", "--data", data); code != exitUsage || !strings.Contains(stderr, "6 characters") {
		t.Errorf("a short password: %d %s", code, stderr)
	}
}

// A ban that a command lifts is over in the running server, too.
func TestBanLift(t *testing.T) {
	n := testNode(t, func(c *Config) { c.Bans.Limit, c.Bans.Allow = 2, "" })
	defer n.close()
	for range 2 {
		if code, err := logIn(t, n, "wrong"); err != nil || code != 401 {
			t.Fatalf("login with a wrong password: %d, %v", code, err)
		}
	}
	if code, err := logIn(t, n, n.password); err != nil || code != 403 {
		t.Fatalf("login of a banned address: %d, %v", code, err)
	}
	if _, out, _ := runLine(t, "", "ban", "list", "--data", n.conf.Data); !strings.Contains(out, "127.0.0.1 ") {
		t.Errorf("ban list does not tell of it:\n%s", out)
	}
	if code, _, stderr := runLine(t, "", "ban", "lift", "127.0.0.1", "--data", n.conf.Data); code != 0 {
		t.Fatal(stderr)
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(n.realm.Defender().Bans()) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the ban is not over")
		}
		<-time.After(10 * time.Millisecond) // which the database is looked at every 250 ms for
	}
	if code, err := logIn(t, n, n.password); err != nil || code != 200 {
		t.Errorf("login after the ban was lifted: %d, %v", code, err)
	}
}

// logIn logs the first user of a node in and returns the status.
func logIn(t *testing.T, n *node, password string) (int, error) {
	req, err := http.NewRequestWithContext(t.Context(), "GET", n.gatewayURL+"/auth/v1.0", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Auth-User", n.user)
	req.Header.Set("X-Auth-Key", password)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
