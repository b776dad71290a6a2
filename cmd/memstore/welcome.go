package main

import (
	"fmt"
	"io"
	"strings"
)

// A welcome is what serve says once its doors are open.
type welcome struct {
	Version  string
	Data     string
	Created  bool // the data directory is new
	Gateway  string
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
		fmt.Fprintf(&b, "  password     %s    (shown once; \"memstore user passwd %s\" changes it)\n", m.Password, m.User)
	}
	if m.Gateway != "" {
		fmt.Fprintf(&b, "  Swift        %s/auth/v1.0\n", m.Gateway)
		fmt.Fprintf(&b, "  Keystone     %s/v3\n", m.Gateway)
	}
	if m.Admin != "" {
		fmt.Fprintf(&b, "  admin        %s/metrics\n", m.Admin)
	}
	switch {
	case m.User == "":
		fmt.Fprintf(&b, "\nThere are no users yet: memstore user add --data %s --admin ACCOUNT:USER\n", m.Data)
	case m.Gateway != "":
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
// tests run: nowhere else are they written down.
func (m welcome) trials() []trial {
	password := m.Password
	if password == "" {
		password = "the password of " + m.User
	}
	account, _, _ := strings.Cut(m.User, ":")
	return []trial{
		{"first", []string{
			"export ST_AUTH=" + m.Gateway + "/auth/v1.0 ST_USER=" + quote(m.User) + " ST_KEY=" + quote(password),
			"echo 'Hello, Memstore!' > hello.txt",
		}},
		{"swift (python3-swiftclient)", []string{
			"swift upload pictures hello.txt",
			"swift list pictures",
			"swift download pictures hello.txt --output -",
			"swift delete pictures",
		}},
		{"rclone", []string{
			"rclone --swift-env-auth copy hello.txt :swift:backup/docs",
			"rclone --swift-env-auth lsl :swift:backup",
			"rclone --swift-env-auth cat :swift:backup/docs/hello.txt",
			"rclone --swift-env-auth purge :swift:backup",
		}},
		{"curl", []string{
			`TOKEN=$(curl -sfi -H "X-Auth-User: $ST_USER" -H "X-Auth-Key: $ST_KEY" "$ST_AUTH" | tr -d '\r' | sed -n 's/^x-auth-token: //Ip')`,
			"URL=" + m.Gateway + "/v1/AUTH_" + account,
			`curl -sf -H "X-Auth-Token: $TOKEN" -X PUT "$URL/www"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" -T hello.txt "$URL/www/hello.txt"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" "$URL/www?format=json"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" "$URL/www/hello.txt"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" -X DELETE "$URL/www/hello.txt"`,
			`curl -sf -H "X-Auth-Token: $TOKEN" -X DELETE "$URL/www"`,
		}},
	}
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
