package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// A welcome is what serve says once its doors are open.
type welcome struct {
	Version  string
	Program  string // how a shell finds this program; "" is "memstore"
	Data     string
	Created  bool // nothing was ever kept in the data directory
	Examples bool // commands to paste are wanted
	Gateway  string
	SFTP     string
	HostKey  string // the fingerprint of SFTP
	FTP      string
	FTPS     string
	CDN      string
	Admin    string // URLs; "" for a closed door
	User     string // whom the commands are for; "" if there is nobody yet
	Password string // only if it was generated just now
}

// print writes it all to w.
func (m welcome) print(w io.Writer) error {
	var b strings.Builder
	state := ""
	if m.Created {
		state = " (created)"
	}
	fmt.Fprintf(&b, "memstore %s, data in %s%s\n", m.Version, m.Data, state)
	if m.Password != "" {
		fmt.Fprintf(&b, "  user         %s\n", m.User)
		fmt.Fprintf(&b, "  password     %s    (shown once)\n", m.Password)
	}
	if m.Gateway != "" {
		fmt.Fprintf(&b, "  Swift        %s/auth/v1.0\n", m.Gateway)
		fmt.Fprintf(&b, "  Keystone     %s/v3\n", m.Gateway)
	}
	if m.SFTP != "" {
		fmt.Fprintf(&b, "  SFTP, scp    %s    (host key %s)\n", m.SFTP, m.HostKey)
	}
	if m.FTP != "" {
		fmt.Fprintf(&b, "  FTP          %s\n", m.FTP)
	}
	if m.FTPS != "" {
		fmt.Fprintf(&b, "  FTPS         %s\n", m.FTPS)
	}
	if m.CDN != "" {
		fmt.Fprintf(&b, "  CDN          %s\n", m.CDN)
	}
	if m.Admin != "" {
		fmt.Fprintf(&b, "  admin        %s/metrics\n", m.Admin)
	}
	self, data := cmp.Or(m.Program, "memstore"), quote(m.Data)
	switch {
	case m.User == "":
		fmt.Fprintf(&b, "\nThere are no users yet: %s user add --data %s --admin ACCOUNT:USER\n", self, data)
	case !m.Examples:
		fmt.Fprintf(&b, "  new password %s user passwd --data %s %s\n", self, data, quote(m.User))
		b.WriteString("  to try it    start it with --examples, which prints commands to paste\n")
	default:
		fmt.Fprintf(&b, "  new password %s user passwd --data %s %s\n", self, data, quote(m.User))
		fmt.Fprintf(&b, "  another user %s user add --data %s --admin ACCOUNT:USER\n", self, data)
		if m.Gateway == "" {
			break
		}
		b.WriteString("\nTo try it, paste into another terminal:\n")
		for _, s := range m.trials() {
			fmt.Fprintf(&b, "\n  # %s\n", s.client)
			for _, line := range s.lines {
				fmt.Fprintf(&b, "  %s\n", line)
			}
		}
	}
	b.WriteString("\nReady.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// A trial is what to paste to see one client at work.
type trial struct {
	client string
	lines  []string
}

// trials are the commands that serve prints, that README.md shows and that the
// tests run: nowhere else are they written down. They take away again what they
// made, and so keep to names that nobody else gives to anything.
func (m welcome) trials() []trial {
	password := m.Password
	if password == "" {
		password = "the password of " + m.User
	}
	account, _, _ := strings.Cut(m.User, ":")
	trials := []trial{
		{"first", []string{
			"export ST_AUTH=" + m.Gateway + "/auth/v1.0 ST_USER=" + quote(m.User) + " ST_KEY=" + quote(password),
			"echo 'Hello, Memstore!' > memstore-demo.txt",
		}},
		{"swift (python3-swiftclient)", []string{
			"swift upload memstore-demo-swift memstore-demo.txt",
			"swift list memstore-demo-swift",
			"swift download memstore-demo-swift memstore-demo.txt --output -",
			"swift delete memstore-demo-swift",
		}},
		{"rclone", []string{
			"rclone --swift-env-auth copy memstore-demo.txt :swift:memstore-demo-rclone/docs",
			"rclone --swift-env-auth lsl :swift:memstore-demo-rclone",
			"rclone --swift-env-auth cat :swift:memstore-demo-rclone/docs/memstore-demo.txt",
			"rclone --swift-env-auth deletefile :swift:memstore-demo-rclone/docs/memstore-demo.txt",
			"rclone --swift-env-auth rmdir :swift:memstore-demo-rclone",
		}},
		{"curl", []string{
			`TOKEN=$(curl -sfi -H "X-Auth-User: $ST_USER" -H "X-Auth-Key: $ST_KEY" "$ST_AUTH" | tr -d '\r' | sed -n 's/^x-auth-token: //Ip')`,
			"URL=" + m.Gateway + "/v1/AUTH_" + account + "/memstore-demo-curl",
			`curl -sf -H "X-Auth-Token: $TOKEN" -X PUT "$URL"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" -T memstore-demo.txt "$URL/hello.txt"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" "$URL?format=json"; echo`,
			`curl -sf -H "X-Auth-Token: $TOKEN" "$URL/hello.txt"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" -X DELETE "$URL/hello.txt"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" -X DELETE "$URL"`,
		}},
	}
	trials = append(trials, m.cdnTrials(account)...)
	trials = append(trials, m.fileTrials()...)
	last := &trials[len(trials)-1]
	last.lines = append(last.lines, "rm memstore-demo.txt")
	return trials
}

// programName is what to type to run this program again: its name where a shell
// finds it by that, else the path that was typed this time.
func programName() string {
	if found, err := exec.LookPath("memstore"); err == nil {
		theirs, err1 := os.Stat(found)
		ours, err2 := os.Stat("/proc/self/exe")
		if err1 == nil && err2 == nil && os.SameFile(theirs, ours) {
			return "memstore"
		}
	}
	return quote(os.Args[0])
}

// quote makes s one word for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_.:/@", r)
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
