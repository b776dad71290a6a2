package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of the documents anew")

// TestManual keeps docs/configuration.md and the example file equal to the
// comments of Config. Run it with -update after a change to them.
func TestManual(t *testing.T) {
	sections := readManual(t)
	compare(t, "../../docs/configuration.md", replaceBetween(t, "../../docs/configuration.md", markdown(sections)))
	compare(t, "../../deploy/memstore.yaml", exampleFile(sections))
}

// TestReadme keeps the commands of README.md equal to those that serve prints.
func TestReadme(t *testing.T) {
	var b strings.Builder
	m := welcome{Gateway: "http://127.0.0.1:8080", User: "demo:admin",
		CDN: "http://127.0.0.1:8088", SFTP: "sftp://127.0.0.1:2022", FTP: "ftp://127.0.0.1:2121"}
	b.WriteString("```sh\n")
	for i, s := range m.trials() {
		if i > 0 {
			fmt.Fprintf(&b, "\n# %s\n", s.client)
		}
		b.WriteString(strings.Join(s.lines, "\n") + "\n")
	}
	b.WriteString("```\n")
	compare(t, "../../README.md", replaceBetween(t, "../../README.md", b.String()))
}

type section struct {
	name, doc string
	entries   []entry
}

type entry struct{ name, doc, value, env, flag string }

// readManual joins the comments in config.go with the tags and defaults.
func readManual(t *testing.T) []section {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "~")
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]*ast.StructType{}
	docs := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.TYPE {
			spec := d.Specs[0].(*ast.TypeSpec)
			structs[spec.Name.Name] = spec.Type.(*ast.StructType)
			docs[spec.Name.Name] = d.Doc.Text()
		}
		return true
	})
	c := Defaults()
	settings := map[string]setting{}
	for _, s := range c.settings() {
		settings[s.name] = s
	}
	all := []section{{}}
	add := func(s *section, prefix string, f *ast.Field) {
		for range f.Names {
			tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
			v, ok := settings[prefix+tag.Get("yaml")]
			if !ok {
				t.Fatalf("no setting %q", prefix+tag.Get("yaml"))
			}
			doc := strings.TrimSpace(f.Doc.Text())
			if doc == "" {
				t.Errorf("setting %s has no comment", v.name)
			}
			s.entries = append(s.entries, entry{v.name, doc, v.text(), v.env, v.flag})
		}
	}
	for _, f := range structs["Config"].Fields.List {
		id, ok := f.Type.(*ast.Ident)
		if !ok || structs[id.Name] == nil {
			add(&all[0], "", f)
			continue
		}
		tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
		_, doc, _ := strings.Cut(docs[id.Name], " is ")
		s := section{name: tag.Get("yaml"), doc: strings.TrimSpace(doc)}
		for _, f := range structs[id.Name].Fields.List {
			add(&s, s.name+".", f)
		}
		all = append(all, s)
	}
	return all
}

func markdown(sections []section) string {
	var b strings.Builder
	for _, s := range sections {
		if s.name != "" {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.name, capital(s.doc))
		}
		for _, e := range s.entries {
			value := "empty"
			if e.value != "" {
				value = "`" + e.value + "`"
			}
			fmt.Fprintf(&b, "\n### `%s`\n\nDefault %s", e.name, value)
			fmt.Fprintf(&b, " · variable `%s`", e.env)
			if e.flag != "" {
				fmt.Fprintf(&b, " · flag `--%s`", e.flag)
			}
			fmt.Fprintf(&b, "\n\n%s\n", e.doc)
		}
	}
	return b.String()
}

func exampleFile(sections []section) string {
	var b strings.Builder
	b.WriteString("# Every setting of Memstore with its default. Made from the comments in\n" +
		"# cmd/memstore/config.go; docs/configuration.md says the same as a page.\n")
	comment := func(indent, text string) {
		for line := range strings.Lines(text) {
			fmt.Fprintf(&b, "%s# %s\n", indent, strings.TrimSpace(line))
		}
	}
	for _, s := range sections {
		indent := ""
		if s.name != "" {
			b.WriteString("\n")
			comment("", capital(s.doc))
			fmt.Fprintf(&b, "%s:\n", s.name)
			indent = "  "
		}
		for i, e := range s.entries {
			if s.name == "" || i > 0 {
				b.WriteString("\n")
			}
			comment(indent, e.doc)
			value, off := e.value, ""
			switch {
			case e.name == "data":
				value, off = "/var/lib/memstore", "#"
			case value == "":
				value = `""`
			case strings.Contains(value, ":"):
				value = `"` + value + `"`
			}
			fmt.Fprintf(&b, "%s%s%s: %s\n", indent, off, strings.TrimPrefix(e.name, s.name+"."), value)
		}
	}
	return b.String()
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// replaceBetween returns the text of file with what stands between its two
// marker comments replaced.
func replaceBetween(t *testing.T, file, text string) string {
	t.Helper()
	const begin, end = "<!-- generated: go test ./cmd/memstore -update -->\n", "<!-- end of generated -->\n"
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for what is generated", file)
	}
	return head + begin + text + end + tail
}

func compare(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says; run go test ./cmd/memstore -run %s -update", file, t.Name())
	}
}
