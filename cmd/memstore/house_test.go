package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "memstore.dev/memstore"

// A room is what one package may import, tests aside.
type room struct {
	ours   []string // packages of this module; "*" is any
	others []string // modules from outside; "*" is any
	why    string
}

// house is the architecture as data: imports run from cmd over the doors and
// the guard to the storage, and never back.
var house = map[string]room{
	"storage": {[]string{"internal/md5lanes"}, nil,
		"everything stands on the vocabulary and on the hall, so they stand on nothing but arithmetic; the hall never learns who is calling"},
	"storage/memory": {[]string{"storage"}, nil,
		"a backend keeps bytes and knows neither who asks nor by which door"},
	"storage/disk": {[]string{"storage", "internal/durable"}, []string{"github.com/cockroachdb/pebble/v2", "golang.org/x/sys", "golang.org/x/time"},
		"a backend keeps bytes and knows neither who asks nor by which door; the index is Pebble"},
	"storage/swift": {[]string{"storage"}, []string{"github.com/ncw/swift/v2"},
		"a backend keeps bytes and knows neither who asks nor by which door; this one asks a Swift elsewhere to"},
	"storage/crypt": {[]string{"storage"}, []string{"golang.org/x/crypto"},
		"a backend around any backend, which hides from it what it keeps; it knows neither which nor who asks"},
	"storage/vfs": {[]string{"storage"}, []string{"github.com/spf13/afero"},
		"one filesystem for both file doors, which speaks to the hall like any door"},
	"storage/vfs/vfstest": {nil, []string{"github.com/spf13/afero"},
		"the contract of a filesystem must hold for any of them, those of other programs too"},
	"storage/storagetest": {[]string{"storage"}, []string{"pgregory.net/rapid"},
		"the contract of a backend must not know any backend, or it would be that one's contract"},
	"auth": {[]string{"storage", "internal/durable"}, []string{"aidanwoods.dev/go-paseto", "golang.org/x/crypto", "golang.org/x/sync", "golang.org/x/time", "github.com/pressly/goose/v3", "modernc.org/sqlite"},
		"the guard speaks of paths and verbs; a door could not be trusted to ask it, so it wraps the backend instead"},
	"gateway": {[]string{"storage", "auth"}, []string{"github.com/gorilla/mux", "github.com/prometheus/client_golang", "golang.org/x/sync", "golang.org/x/time"},
		"a door cannot skip the guard if it cannot see the cellar"},
	"internal/door": {nil, []string{"github.com/pires/go-proxyproto", "golang.org/x/time"},
		"what is the same at every door for files: accepting, limits before the login, the log of operations"},
	"ftp": {[]string{"internal/door"}, []string{"github.com/spf13/afero", "github.com/fclairamb/ftpserverlib", "github.com/pires/go-proxyproto"},
		"a translation between a protocol and a filesystem, which can be tested on one in memory"},
	"sftp": {[]string{"internal/door"}, []string{"github.com/spf13/afero", "github.com/pkg/sftp", "golang.org/x/crypto", "golang.org/x/sys", "golang.org/x/sync", "golang.org/x/time"},
		"a translation between a protocol and a filesystem, which can be tested on one in memory"},
	"cdn": {[]string{"cdn/store"}, []string{"golang.org/x/sync", "golang.org/x/time", "golang.org/x/net", "github.com/dunglas/httpsfv", "github.com/klauspost/compress", "github.com/andybalholm/brotli"},
		"it knows HTTP only, and so moves to another machine by changing one URL"},
	"cdn/store": {nil, []string{"golang.org/x/sys", "golang.org/x/sync"},
		"it keeps bytes under keys in two tiers, and knows nothing of HTTP"},
	"cdn/front": {nil, []string{"github.com/quic-go/quic-go", "github.com/caddyserver/certmagic", "go.uber.org/zap", "golang.org/x/net", "golang.org/x/time"},
		"how browsers reach any handler: TLS, certificates, HTTP/2 and HTTP/3, limits; it does not know what is behind"},
	"internal/durable": {nil, []string{"golang.org/x/sys"},
		"how to make a file survive a power cut is the same for all who promise it"},
	"internal/md5lanes": {nil, []string{"golang.org/x/sys"},
		"arithmetic: it knows bytes and processors"},
	"internal/peer": {nil, nil,
		"it starts somebody else's server to compare with, and must not know ours"},
	"internal/spawn": {nil, nil,
		"who starts our binary meets it as its users do"},
	"internal/ftpclient": {nil, nil,
		"a client meets our door, and those of others, by the protocol alone"},
	"internal/bench/files": {[]string{"*"}, []string{"*"},
		"a tool beside the product, which measures its doors for files"},
	"internal/bench/edge": {[]string{"*"}, []string{"*"},
		"a tool beside the product, which measures its edge"},
	"internal/bench": {[]string{"*"}, []string{"*"},
		"a tool beside the product, which measures it"},
	"internal/crash": {[]string{"*"}, []string{"*"},
		"a tool beside the product, which kills it"},
	"cmd/memstore": {[]string{"*"}, []string{"*"},
		"somebody has to join the parts, and only one may"},
}

// dull are names that say nothing of what is in them.
var dull = []string{"util", "utils", "common", "helper", "helpers", "types", "type", "manager", "misc", "base", "shared", "lib"}

func TestHouse(t *testing.T) {
	for dir, pkg := range packages(t) {
		t.Run(dir, func(t *testing.T) {
			rule, ok := house[dir]
			if !ok {
				t.Fatalf("package %s is not in the house; give it a line, with a reason", dir)
			}
			if rule.why == "" {
				t.Error("there is no reason beside its rule")
			}
			if !pkg.documented {
				t.Error("no file has a package comment")
			}
			for file, imports := range pkg.imports {
				for _, imp := range imports {
					if !rule.allows(imp) {
						t.Errorf("%s imports %s, which it may not: %s", file, imp, rule.why)
					}
				}
			}
			for _, name := range append(slices.Collect(maps.Keys(pkg.imports)), dir) {
				base := strings.TrimSuffix(path.Base(name), ".go")
				if slices.Contains(dull, base) {
					t.Errorf("%s is named for nothing in particular", name)
				}
			}
		})
	}
}

// TestHouseHolds proves that the rules can be broken.
func TestHouseHolds(t *testing.T) {
	for _, tt := range []struct {
		dir, imp string
		want     bool
	}{
		{"gateway", module + "/storage", true},
		{"gateway", module + "/storage/disk", false},
		{"gateway", "github.com/gorilla/mux", true},
		{"gateway", "github.com/gorilla/websocket", false},
		{"storage", module + "/auth", false},
		{"storage", "github.com/cockroachdb/pebble/v2", false},
		{"storage", "net/http", true},
		{"storage/disk", "github.com/cockroachdb/pebble/v2/vfs", true},
		{"cmd/memstore", module + "/storage/disk", true},
	} {
		if got := house[tt.dir].allows(tt.imp); got != tt.want {
			t.Errorf("%s may import %s: %v, want %v", tt.dir, tt.imp, got, tt.want)
		}
	}
}

// TestModules wants a reason in docs/architecture.md for every module that
// go.mod requires directly.
func TestModules(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.Contains(line, "// indirect") || !strings.HasPrefix(f[1], "v") {
			continue
		}
		n++
		if !strings.Contains(string(text), "`"+f[0]+"`") {
			t.Errorf("docs/architecture.md gives no reason for %s", f[0])
		}
	}
	if n == 0 {
		t.Fatal("no modules found in go.mod")
	}
}

func (r room) allows(imp string) bool {
	if rest, ok := strings.CutPrefix(imp, module+"/"); ok {
		return slices.Contains(r.ours, "*") || slices.Contains(r.ours, rest)
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return true // standard library
	}
	return slices.ContainsFunc(r.others, func(m string) bool {
		return m == "*" || imp == m || strings.HasPrefix(imp, m+"/")
	})
}

type contents struct {
	documented bool
	imports    map[string][]string // by file, without tests
}

// packages reads every package of the module.
func packages(t *testing.T) map[string]*contents {
	t.Helper()
	const root = "../.."
	all := map[string]*contents{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != root && (name == "testdata" || name[0] == '.' || name[0] == '_') {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		c := all[dir]
		if c == nil {
			c = &contents{imports: map[string][]string{}}
			all[dir] = c
		}
		c.documented = c.documented || documented(parsed)
		c.imports[name] = nil
		for _, spec := range parsed.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			c.imports[name] = append(c.imports[name], imp)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Fatalf("only %d packages found", len(all))
	}
	return all
}

func documented(f *ast.File) bool { return len(strings.TrimSpace(f.Doc.Text())) > 40 }
