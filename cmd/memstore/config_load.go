package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/printer"
	"github.com/goccy/go-yaml/token"

	"memstore.dev/memstore/gateway"
)

const (
	envPrefix  = "MEMSTORE_"
	envConfig  = envPrefix + "CONFIG"
	systemFile = "/etc/memstore/memstore.yaml" // read if it exists and no other is named
)

// leastMemory is the least that the garbage collector can aim at in earnest.
const leastMemory = 32 << 20

// Loaded is a Config, and where each of its values is from.
type Loaded struct {
	Config
	File    string            // the file that was read, "" if none
	Sources map[string]string // by setting: "default", "memstore.yaml:7", "MEMSTORE_DATA", "--data"
	Unknown []string          // variables that begin like ours but mean nothing
}

// Inputs is what a Config is made from.
type Inputs struct {
	File  string            // from --config; "" for $MEMSTORE_CONFIG or the system's
	Env   []string          // as os.Environ gives it
	Flags map[string]string // the flags that were given, by name
}

// Load merges the defaults, the file, the environment and the flags, each
// going over those before it, and checks the sum.
func Load(in Inputs) (*Loaded, error) {
	l := &Loaded{Config: Defaults(), Sources: map[string]string{}}
	settings := l.settings()
	for _, s := range settings {
		l.Sources[s.name] = "default"
	}
	environ := map[string]string{}
	for _, kv := range in.Env {
		if k, v, _ := strings.Cut(kv, "="); strings.HasPrefix(k, envPrefix) {
			environ[k] = v
		}
	}
	values := map[string]string{} // by setting, as text
	wrong := errors.Join(
		l.readFile(cmp.Or(in.File, environ[envConfig]), values),
		l.overlay(settings, environ, in.Flags, values),
		l.set(settings, values),
	)
	// What could not be read keeps its default, so what is said here is true too.
	if err := errors.Join(wrong, l.check()); err != nil {
		return nil, err
	}
	var err error
	l.Data, err = filepath.Abs(l.Data) // whoever reads it in a log or an error is somewhere else
	return l, err
}

// readFile reads the settings in the named file, or in the system's if there is
// one.
func (l *Loaded) readFile(name string, values map[string]string) error {
	l.File = name
	optional := name == ""
	if optional {
		l.File = systemFile
	}
	text, err := os.ReadFile(l.File)
	if optional && errors.Is(err, fs.ErrNotExist) {
		l.File = ""
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	parsed, err := parser.ParseBytes(text, 0)
	if at := yaml.Error(nil); errors.As(err, &at) {
		return l.atLine(at.GetToken(), at.GetMessage())
	} else if err != nil {
		return fmt.Errorf("configuration: %s: %w", l.File, err)
	}
	var wrong []error
	for _, doc := range parsed.Docs {
		wrong = append(wrong, l.readNode("", doc.Body, values))
	}
	return errors.Join(wrong...)
}

// readNode takes the settings out of a tree of mappings, as text.
func (l *Loaded) readNode(name string, n ast.Node, values map[string]string) error {
	switch n := n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode: // nothing is said, so the default holds
		return nil
	case ast.MapNode:
		var wrong []error
		for it := n.MapRange(); it.Next(); {
			key := it.Key().GetToken()
			if _, leaf := l.Sources[name]; leaf {
				return l.atLine(key, fmt.Sprintf("setting %q takes a plain value", name))
			}
			sub := strings.TrimPrefix(name+"."+key.Value, ".")
			if !l.known(sub) {
				wrong = append(wrong, l.atLine(key, fmt.Sprintf("unknown setting %q", sub)))
				continue
			}
			wrong = append(wrong, l.readNode(sub, it.Value(), values))
		}
		return errors.Join(wrong...)
	case ast.ScalarNode:
		if _, leaf := l.Sources[name]; leaf {
			values[name] = fmt.Sprint(n.GetValue())
			if n, ok := n.(*ast.IntegerNode); ok {
				values[name] = n.Token.Value
			}
			l.Sources[name] = l.File + ":" + strconv.Itoa(n.GetToken().Position.Line)
			return nil
		}
	}
	if name == "" {
		return l.atLine(n.GetToken(), "settings are written as name: value")
	}
	return l.atLine(n.GetToken(), fmt.Sprintf("%q does not take such a value", name))
}

// known reports whether name is a setting, or a section of them.
func (l *Loaded) known(name string) bool {
	for s := range l.Sources {
		if s == name || strings.HasPrefix(s, name+".") {
			return true
		}
	}
	return false
}

// atLine is an error about a place in the file, with the lines around it.
func (l *Loaded) atLine(t *token.Token, text string) error {
	if t == nil {
		return fmt.Errorf("configuration: %s: %s", l.File, text)
	}
	var p printer.Printer
	return fmt.Errorf("configuration: %s:%d:%d: %s\n%s", l.File, t.Position.Line, t.Position.Column, text,
		strings.Trim(p.PrintErrorToken(t, false), "\n"))
}

// overlay puts the environment and then the flags over what the file says.
func (l *Loaded) overlay(settings []setting, environ, flags, values map[string]string) error {
	var wrong []error
	known := map[string]bool{envConfig: true}
	for _, s := range settings {
		known[s.env] = true
		if v, ok := environ[s.env]; ok {
			values[s.name], l.Sources[s.name] = v, s.env
		}
		if s.secret {
			known[s.env+"_FILE"] = true
			wrong = append(wrong, l.secretFile(s, environ, values))
		}
		if v, ok := flags[s.flag]; ok && s.flag != "" {
			values[s.name], l.Sources[s.name] = v, "--"+s.flag
		}
	}
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		if !known[name] {
			l.Unknown = append(l.Unknown, name)
		}
	}
	return errors.Join(wrong...)
}

// secretFile reads the secret that NAME_FILE points at, as containers and
// systemd hand them over.
func (l *Loaded) secretFile(s setting, environ, values map[string]string) error {
	name := s.env + "_FILE"
	file := environ[name]
	if file == "" {
		return nil
	}
	if environ[s.env] != "" {
		return fmt.Errorf("configuration: %s and %s are both set", s.env, name)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("configuration: %s: %w", name, err)
	}
	values[s.name], l.Sources[s.name] = strings.TrimRight(string(text), "\r\n"), name
	return nil
}

// set parses the values. File, environment and flags all speak text, so all go
// through the one parser.
func (l *Loaded) set(settings []setting, values map[string]string) error {
	var wrong []error
	for _, s := range settings {
		text, ok := values[s.name]
		if !ok {
			continue
		}
		if text == "" { // which the parser would pass over, and which for us says "none"
			s.value.SetZero()
			continue
		}
		one := map[string]string{s.env: text}
		if env.ParseWithOptions(&l.Config, env.Options{Environment: one, Prefix: envPrefix}) != nil {
			wrong = append(wrong, l.complain(s.name, fmt.Sprintf("%q is not a %s", text, s.kind())))
		}
	}
	return errors.Join(wrong...)
}

func (l *Loaded) complain(name, text string) error {
	return fmt.Errorf("configuration: %s (%s): %s", name, l.Sources[name], text)
}

// check judges the values themselves, and returns everything that is wrong.
func (l *Loaded) check() error {
	var wrong []error
	bad := func(name, format string, args ...any) {
		wrong = append(wrong, l.complain(name, fmt.Sprintf(format, args...)))
	}
	oneOf := func(name, value string, choices ...string) {
		if !slices.Contains(choices, value) {
			bad(name, "%q is none of %s", value, strings.Join(choices, ", "))
		}
	}
	switch {
	case l.Data == "" && l.Sources["data"] == "default":
		bad("data", "no directory is set, and there is no home directory to put one in; name one with --data")
	case l.Data == "":
		bad("data", "must not be empty; leave the setting out to keep everything in %s", cmp.Or(defaultData(), "the home directory"))
	}
	if l.Memory != 0 && l.Memory < leastMemory {
		bad("memory", "%v is less than %v, with which nothing runs", l.Memory, Size(leastMemory))
	} else if l.Memory != 0 && l.Disk.Cache >= l.Memory {
		bad("disk.cache", "%v is not less than memory, %v, which it is a part of", l.Disk.Cache, l.Memory)
	}
	if p := string(l.FirstUser.Password); p != "" {
		if err := checkPassword(p); err != nil {
			bad("first_user.password", "%v", err)
		}
	}
	for _, list := range []struct {
		name  string
		value Networks
	}{{"gateway.proxies", l.Gateway.Proxies}, {"bans.allow", l.Bans.Allow}} {
		if _, err := list.value.Prefixes(); err != nil {
			bad(list.name, "%v", err)
		}
	}
	if l.Bans.Limit < 1 {
		bad("bans.limit", "must be at least 1")
	}
	if l.Bans.Window < time.Second {
		bad("bans.window", "%v is less than a second", l.Bans.Window)
	}
	if l.Bans.Length < time.Second || l.Bans.Length > 24*time.Hour {
		bad("bans.length", "%v is not between a second and a day", l.Bans.Length)
	}
	oneOf("backend", l.Backend, "disk", "memory")
	oneOf("disk.sync", l.Disk.Sync, slices.Sorted(maps.Keys(syncs))...)
	oneOf("disk.verify", l.Disk.Verify, slices.Sorted(maps.Keys(verifies))...)
	oneOf("log.level", l.Log.Level, "debug", "info", "warn", "error")
	oneOf("log.format", l.Log.Format, "auto", "json", "text")
	if n := l.FirstUser.Name; n != "" {
		if account, user, ok := strings.Cut(n, ":"); !ok || account == "" || user == "" {
			bad("first_user.name", "%q is not of the form account:user", n)
		}
	}
	l.checkCDN(bad)
	for _, door := range []struct{ name, addr string }{
		{"gateway.listen", l.Gateway.Listen}, {"ftp.listen", l.FTP.Listen}, {"ftp.implicit", l.FTP.Implicit},
		{"sftp.listen", l.SFTP.Listen}, {"cdn.listen", l.CDN.Listen}, {"admin.listen", l.Admin.Listen},
	} {
		if door.addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(door.addr); err != nil {
			bad(door.name, "%q is not an address such as 127.0.0.1:8080", door.addr)
		} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			bad(door.name, "%q has no port between 0 and 65535", door.addr)
		}
	}
	if u, err := url.Parse(l.Gateway.URL); l.Gateway.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		bad("gateway.url", "%q is not an address such as https://store.example.com", l.Gateway.URL)
	}
	if (l.Gateway.Certificate == "") != (l.Gateway.Key == "") {
		bad("gateway.certificate", "certificate and key must be set together")
	}
	l.checkFiles(bad)
	l.fillSwift(new(gateway.Config), bad)
	if l.Drain < 0 {
		bad("drain", "must not be negative")
	}
	if l.Sweep < 100*time.Millisecond {
		bad("sweep", "%v is less than 100ms", l.Sweep)
	}
	if l.Tokens.Life < time.Minute {
		bad("tokens.life", "%v is less than a minute", l.Tokens.Life)
	}
	if l.Gateway.MaxObject < 1 {
		bad("gateway.max_object", "must be at least one byte")
	}
	return errors.Join(wrong...)
}

// A setting is one leaf of the Config.
type setting struct {
	name   string // as in the file: "gateway.listen"
	env    string // "MEMSTORE_GATEWAY"
	flag   string // "gateway", or ""
	secret bool
	value  reflect.Value
}

// kind says in a word what a value must be.
func (s setting) kind() string {
	switch s.value.Interface().(type) {
	case time.Duration:
		return "duration such as 30s"
	case Size:
		return "size such as 64MiB"
	case int:
		return "whole number"
	}
	return s.value.Kind().String()
}

// text is the value as it would be written in the file, secrets masked.
func (s setting) text() string { return fmt.Sprint(s.value.Interface()) }

// settings lists the leaves of c, in order; their values can be set.
func (c *Config) settings() []setting {
	var list []setting
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for f, v := range v.Fields() {
			name := prefix + f.Tag.Get("yaml")
			if v.Kind() == reflect.Struct {
				walk(name+".", v)
				continue
			}
			_, secret := v.Interface().(Secret)
			list = append(list, setting{name, envPrefix + f.Tag.Get("env"), f.Tag.Get("flag"), secret, v})
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	return list
}
