package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/auth"
)

// A userText is a user as "user export" writes him.
type userText struct {
	Name     string   `yaml:"name"`
	Role     string   `yaml:"role"`
	ReadOnly bool     `yaml:"read_only,omitempty"`
	Disabled bool     `yaml:"disabled,omitempty"`
	Doors    []string `yaml:"doors,omitempty,flow"`
	Networks []string `yaml:"networks,omitempty,flow"`
	Password string   `yaml:"password"`
	Keys     []string `yaml:"keys"`
}

// noPassword is written for the hash of who has none.
const noPassword = "none"

// mostUsersText is how long a file of users may be.
const mostUsersText = 64 << 20

func userExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export [ACCOUNT]",
		Short: "Write users as text, with what their passwords are judged by",
		Long: `Export writes users, or those of one account, as YAML that "user import" reads:
roles, doors, networks, keys, and the hashes of their passwords, so that nobody
else should read it. It is the same text as long as the users are the same.`,
		Example:           "  memstore user export > users.yaml\n  memstore user export ann",
		Args:              arguments("[ACCOUNT]"),
		ValidArgsFunction: completeAccount,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				list, err := realm.Export(ctx, strings.Join(args, ""))
				if err != nil {
					return err
				}
				return writeUsers(cmd.OutOrStdout(), list)
			})
		},
	}
}

func userImportCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Make users what a text says, while serving too",
		Long: `Import reads users from FILE, or from standard input, as "user export" writes
them. It adds who is not there, with his account, and makes the others what the
text says; users that the text does not name stay as they are. It does all of it
or, if anything in the text cannot be, nothing. Who is as the text says is not
touched: importing a text twice changes nothing the second time.

A user has a name, and may have these:
  role       user (as when it is left out), admin, reseller-reader or reseller-admin
  read_only  true: may never change anything
  disabled   true: may not log in
  doors      a list of swift, ftp and sftp; all when it is left out
  networks   a list, as in [10.0.0.0/8]; from anywhere when it is left out
  password   a hash, argon2id ($argon2id$…) or bcrypt ($2b$…), or none; when it is
             left out he keeps the one he has
  keys       a list of public keys as in ~/.ssh/id_ed25519.pub; when it is left
             out he keeps those he has`,
		Example: "  memstore user import users.yaml\n  memstore user import --check users.yaml\n  memstore user export --data /srv/old | memstore user import",
		Args:    arguments("[FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, text, err := readUsersText(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			list, lines, err := parseUsers(name, text)
			if err != nil {
				return usage(err)
			}
			return withRealm(cmd, !check, func(ctx context.Context, realm *auth.Realm, _ string) error {
				done, err := realm.Import(ctx, list, check)
				if at, ok := errors.AsType[*auth.ImportError](err); ok {
					return usage(fmt.Errorf("%s:%d: %w", name, lines[at.Index], reworded(at.Err)))
				} else if err != nil {
					return err
				}
				would := ""
				if check {
					would = "would be "
				}
				return say(cmd, "%s%d added, %d changed, %d as they were", would, done.Added, done.Changed, done.Same)
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say what would be done")
	return cmd
}

// readUsersText reads the named file, or stdin where there is none.
func readUsersText(stdin io.Reader, files []string) (name string, text []byte, err error) {
	name, from := "standard input", stdin
	if len(files) > 0 && files[0] != "-" {
		f, err := os.Open(files[0])
		if err != nil {
			return "", nil, err
		}
		defer f.Close()
		name, from = files[0], f
	}
	text, err = io.ReadAll(io.LimitReader(from, mostUsersText+1))
	if err == nil && len(text) > mostUsersText {
		err = fmt.Errorf("%s: longer than %v", name, Size(mostUsersText))
	}
	return name, text, err
}

// writeUsers writes users as parseUsers reads them.
func writeUsers(w io.Writer, list []auth.Record) error {
	users := make([]userText, 0, len(list))
	for _, rec := range list {
		u := userText{
			Name: rec.User.Name, Role: string(rec.User.Role), ReadOnly: rec.User.ReadOnly, Disabled: rec.User.Disabled,
			Doors: rec.User.Doors, Password: cmp.Or(*rec.Hash, noPassword), Keys: []string{},
		}
		for _, n := range rec.User.Networks {
			u.Networks = append(u.Networks, n.String())
		}
		for _, k := range rec.Keys {
			line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.Public)))
			u.Keys = append(u.Keys, strings.TrimSpace(line+" "+k.Comment))
		}
		users = append(users, u)
	}
	text, err := yaml.Marshal(map[string][]userText{"users": users})
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// A usersText is a text with users on its way to records.
type usersText struct {
	name  string
	list  []auth.Record
	lines []int          // where each begins
	known map[string]int // the line of each name
	wrong []error
}

// parseUsers reads users, and says on which line of the named text each begins.
// An error tells everything that is wrong, with its lines.
func parseUsers(name string, text []byte) (list []auth.Record, lines []int, err error) {
	t := &usersText{name: name, known: map[string]int{}}
	file, err := parser.ParseBytes(text, 0)
	if at := yaml.Error(nil); errors.As(err, &at) && at.GetToken() != nil {
		return nil, nil, fmt.Errorf("%s:%d: %s", name, at.GetToken().Position.Line, at.GetMessage())
	} else if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	found := false
	for _, doc := range file.Docs {
		top, ok := doc.Body.(ast.MapNode)
		if !ok {
			if doc.Body != nil {
				t.refuse(doc.Body, "a text with users begins with users:")
			}
			continue
		}
		for it := top.MapRange(); it.Next(); {
			if it.Key().String() != "users" || found {
				t.refuse(it.Key(), "%q is not known here; a text has one list of users", it.Key().String())
				continue
			}
			found = true
			for _, n := range t.sequence(it.Value(), "users") {
				t.user(n)
			}
		}
	}
	if !found && len(t.wrong) == 0 {
		t.wrong = append(t.wrong, fmt.Errorf("%s: there is no list of users in it", name))
	}
	return t.list, t.lines, errors.Join(t.wrong...)
}

// refuse notes what is wrong with a node.
func (t *usersText) refuse(n ast.Node, format string, args ...any) {
	t.wrong = append(t.wrong, fmt.Errorf("%s:%d: %s", t.name, n.GetToken().Position.Line, fmt.Sprintf(format, args...)))
}

// user reads one user.
func (t *usersText) user(n ast.Node) {
	m, ok := n.(ast.MapNode)
	if !ok {
		t.refuse(n, "a user is written as name: value, and so on")
		return
	}
	rec := auth.Record{User: auth.User{Role: auth.RoleUser}}
	u := &rec.User
	begins, named := n.GetToken().Position.Line, false
	for it := m.MapRange(); it.Next(); {
		key, value := it.Key(), it.Value()
		begins = min(begins, key.GetToken().Position.Line) // the node's own token may be a later colon
		switch key.String() {
		case "name":
			named = true
			u.Name = auth.FullName(t.word(value, "name"))
			if err := auth.CheckUser(u.Name); err != nil {
				t.refuse(value, "name: %v", err)
			} else if line, twice := t.known[u.Name]; twice {
				t.refuse(value, "name: %s is on line %d already", u.Name, line)
			} else {
				t.known[u.Name] = value.GetToken().Position.Line
			}
		case "role":
			role := t.word(value, "role")
			if u.Role = auth.Role(role); !slices.Contains(roles, role) {
				t.refuse(value, "role: %q is none of %s", role, strings.Join(roles, ", "))
			}
		case "read_only":
			u.ReadOnly = t.flag(value, "read_only")
		case "disabled":
			u.Disabled = t.flag(value, "disabled")
		case "doors":
			for _, n := range t.sequence(value, "doors") {
				door := t.word(n, "doors")
				if err := checkDoors([]string{door}); err != nil {
					t.refuse(n, "doors: %v", err)
				}
				u.Doors = append(u.Doors, door)
			}
		case "networks":
			for _, n := range t.sequence(value, "networks") {
				p, err := parseNetwork(t.word(n, "networks"))
				if err != nil {
					t.refuse(n, "networks: %v", err)
				}
				u.Networks = append(u.Networks, p)
			}
		case "password":
			hash := t.word(value, "password")
			switch {
			case hash == noPassword:
				hash = ""
			case hash == "":
				t.refuse(value, "password: it is a hash, or %s", noPassword)
			default:
				if err := auth.CheckHash(hash); err != nil { // which must not repeat what may be a password
					t.refuse(value, "password: %v", err)
				}
			}
			rec.Hash = &hash
		case "keys":
			rec.Keys = []auth.Key{}
			for _, n := range t.sequence(value, "keys") {
				public, comment, _, rest, err := ssh.ParseAuthorizedKey([]byte(t.word(n, "keys")))
				if err != nil || len(rest) > 0 {
					t.refuse(n, "keys: that is no public key, as in ~/.ssh/id_ed25519.pub")
					continue
				}
				rec.Keys = append(rec.Keys, auth.Key{Public: public, Comment: comment})
			}
		default:
			t.refuse(key, "%q is nothing that a user has", key.String())
		}
	}
	if !named {
		t.refuse(n, "a user without a name")
	}
	t.list, t.lines = append(t.list, rec), append(t.lines, begins)
}

// sequence is what a list has in it; nothing said is an empty one.
func (t *usersText) sequence(n ast.Node, name string) []ast.Node {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil
	case *ast.SequenceNode:
		return n.Values
	}
	t.refuse(n, "%s: it is a list, as in [one, another]", name)
	return nil
}

// word is a plain value.
func (t *usersText) word(n ast.Node, name string) string {
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value
	case *ast.NullNode:
		return ""
	case ast.ScalarNode:
		return fmt.Sprint(n.GetValue())
	}
	t.refuse(n, "%s: it is a plain value", name)
	return ""
}

// flag is true or false.
func (t *usersText) flag(n ast.Node, name string) bool {
	yes, err := strconv.ParseBool(t.word(n, name))
	if err != nil {
		t.refuse(n, "%s: it is true or false", name)
	}
	return yes
}
