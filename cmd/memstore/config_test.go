package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write makes a file with text in it and returns its name.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPrecedence(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/xdg")
	file := write(t, "memstore.yaml", "drain: 1m\nlog:\n  level: warn\ngateway:\n  listen: 127.0.0.1:1\n  max_object: 1MiB\n")
	l, err := Load(Inputs{
		File:  file,
		Env:   []string{"MEMSTORE_GATEWAY=127.0.0.1:2", "MEMSTORE_LOG_LEVEL=error", "MEMSTORE_DISK_CACHE=100MB", "HOME=/elsewhere"},
		Flags: map[string]string{"gateway": "127.0.0.1:3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		setting      string
		got, want    any
		source, from string
	}{
		{"data", l.Data, "/xdg/memstore", l.Sources["data"], "default"},
		{"drain", l.Drain, time.Minute, l.Sources["drain"], file + ":1"},
		{"log.level", l.Log.Level, "error", l.Sources["log.level"], "MEMSTORE_LOG_LEVEL"},
		{"gateway.listen", l.Gateway.Listen, "127.0.0.1:3", l.Sources["gateway.listen"], "--gateway"},
		{"gateway.max_object", l.Gateway.MaxObject, Size(1 << 20), l.Sources["gateway.max_object"], file + ":6"},
		{"disk.cache", l.Disk.Cache, Size(1e8), l.Sources["disk.cache"], "MEMSTORE_DISK_CACHE"},
	} {
		if tt.got != tt.want || tt.source != tt.from {
			t.Errorf("%s = %v from %s, want %v from %s", tt.setting, tt.got, tt.source, tt.want, tt.from)
		}
	}
}

func TestEmptyCloses(t *testing.T) {
	for _, in := range []Inputs{
		{Flags: map[string]string{"gateway": "", "data": "/x"}},
		{Env: []string{"MEMSTORE_GATEWAY=", "MEMSTORE_DATA=/x"}},
		{File: write(t, "memstore.yaml", "data: /x\ngateway: {listen: \"\"}\n")},
	} {
		if in.File == "" {
			in.File = os.DevNull
		}
		l, err := Load(in)
		if err != nil {
			t.Fatal(err)
		}
		if l.Gateway.Listen != "" {
			t.Errorf("%+v: the gateway listens on %q, want it closed", in, l.Gateway.Listen)
		}
	}
}

// A section whose settings are all commented out says nothing.
func TestNothingSaid(t *testing.T) {
	l, err := Load(Inputs{File: write(t, "memstore.yaml", "---\n# data: /y\ngateway:\n  # listen: x\nlog:\n  level:\n"), Env: []string{"MEMSTORE_DATA=/x"}})
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Data = "/x"
	if l.Config != want {
		t.Errorf("Load = %+v, want the defaults", l.Config)
	}
}

// The shipped example holds the defaults, so it may be used as it is.
func TestExampleFile(t *testing.T) {
	l, err := Load(Inputs{File: "../../deploy/memstore.yaml", Env: []string{"MEMSTORE_DATA=/x"}})
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Data = "/x"
	if l.Config != want {
		t.Errorf("Load = %+v, want the defaults", l.Config)
	}
	for _, s := range l.settings() {
		if s.name != "data" && l.Sources[s.name] == "default" {
			t.Errorf("%s is not in it", s.name)
		}
	}
}

func TestSecretFile(t *testing.T) {
	file := write(t, "password", "sesame\n")
	l, err := Load(Inputs{File: os.DevNull, Env: []string{"MEMSTORE_DATA=/x", "MEMSTORE_PASSWORD_FILE=" + file}})
	if err != nil {
		t.Fatal(err)
	}
	if l.FirstUser.Password != "sesame" || l.Sources["first_user.password"] != "MEMSTORE_PASSWORD_FILE" {
		t.Errorf("password = %q from %s, want the file's", string(l.FirstUser.Password), l.Sources["first_user.password"])
	}
	for _, s := range []string{fmt.Sprint(l.FirstUser), fmt.Sprintf("%+v %#v", l.Config, l.FirstUser)} {
		if strings.Contains(s, "sesame") {
			t.Errorf("the password shows in %q", s)
		}
	}
	_, err = Load(Inputs{File: os.DevNull, Env: []string{"MEMSTORE_DATA=/x", "MEMSTORE_PASSWORD=a", "MEMSTORE_PASSWORD_FILE=" + file}})
	if err == nil {
		t.Error("both MEMSTORE_PASSWORD and MEMSTORE_PASSWORD_FILE were accepted")
	}
}

func TestConfigErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		yaml  string
		env   []string
		flags map[string]string
		want  []string // all of them in the error
	}{
		"unknown key":         {yaml: "drain: 1s\ngatewey:\n  listen: x\n", want: []string{"memstore.yaml:2:1:", `unknown setting "gatewey"`, "> "}},
		"unknown key beneath": {yaml: "gateway:\n  listen: :8080\n  listne: x\n", want: []string{"memstore.yaml:3:3:", `unknown setting "gateway.listne"`}},
		"not YAML":            {yaml: "gateway: [\n", want: []string{"memstore.yaml:1:"}},
		"twice":               {yaml: "drain: 1s\ndrain: 2s\n", want: []string{"memstore.yaml:2:1:", "drain"}},
		"no duration":         {yaml: "drain: soon\n", want: []string{"drain (", "memstore.yaml:1)", `"soon" is not a duration`}},
		"no size":             {yaml: "\ndisk:\n  cache: lots\n", want: []string{"disk.cache (", "memstore.yaml:3)", `"lots" is not a size`}},
		"a list":              {yaml: "gateway:\n  listen: [a, b]\n", want: []string{"memstore.yaml:2:"}},
		"a section as value":  {yaml: "gateway: :8080\n", want: []string{"memstore.yaml:1:", `"gateway" does not take`}},
		"a value as section":  {yaml: "drain:\n  x: 1\n", want: []string{"memstore.yaml:"}},
		"where a value is":    {yaml: "\n\nsweep: 1ms\n", want: []string{"sweep (", "memstore.yaml:3)", "1ms is less than"}},
		"all at once":         {yaml: "backend: tape\nlog: {level: loud}\n", want: []string{"backend (", `"tape"`, "log.level (", `"loud"`}},
		"variable":            {env: []string{"MEMSTORE_DRAIN=soon"}, want: []string{"drain (MEMSTORE_DRAIN)", `"soon" is not a duration`}},
		"flag":                {flags: map[string]string{"gateway": "8080"}, want: []string{"gateway.listen (--gateway)", "not an address"}},
		"port":                {flags: map[string]string{"gateway": ":80800"}, want: []string{"gateway.listen (--gateway)", "no port"}},
		"CDN":                 {flags: map[string]string{"cdn": "80"}, want: []string{"cdn.listen (--cdn)", "not an address"}},
		"CDN's domain":        {yaml: "cdn: {domain: \"CDN.example.com\"}\n", want: []string{"cdn.domain (", "not a domain in lower case"}},
		"CDN's port":          {yaml: "cdn: {domain: \"cdn.example.com:http\"}\n", want: []string{"cdn.domain (", "no port between"}},
		"CDN's room":          {yaml: "cdn: {memory: 1KiB, disk: 1MiB, ttl: 9000h}\n", want: []string{"cdn.memory (", "cdn.disk (", "cdn.ttl ("}},
		"half a certificate":  {yaml: "gateway:\n  key: x.pem\n", want: []string{"must be set together"}},
		"no directory":        {flags: map[string]string{"data": ""}, want: []string{"data (--data)", "must not be empty; leave the setting out"}},
		"too little memory":   {yaml: "memory: 16MiB\n", want: []string{"memory (", "16MiB is less than 32MiB"}},
		"cache above memory":  {yaml: "disk: {cache: 300MiB}\n", want: []string{"disk.cache (", "300MiB is not less than memory, 224MiB"}},
		"short password":      {env: []string{"MEMSTORE_PASSWORD=hush!"}, want: []string{"first_user.password (MEMSTORE_PASSWORD)", "6 characters at least"}},
		"no network":          {yaml: "gateway: {proxies: \"10.0.0.0/8, example.com\"}\n", want: []string{"gateway.proxies (", `"example.com" is not a network`}},
		"no proxy":            {yaml: "sftp: {proxies: balancer}\n", want: []string{"sftp.proxies (", `"balancer" is not a network`}},
		"nobody is banned":    {yaml: "bans: {limit: 0, length: 48h}\n", want: []string{"bans.limit (", "at least 1", "bans.length ("}},
		"of every kind":       {yaml: "gatewey: 1\nnope: 2\ndrain: soon\nsweep: 1ms\n", env: []string{"MEMSTORE_GATEWAY=8080"}, want: []string{"gatewey", "nope", `"soon"`, "1ms is less", "8080"}},
		"first user":          {env: []string{"MEMSTORE_USER=ann"}, want: []string{"first_user.name (MEMSTORE_USER)", "account:user"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Inputs{File: write(t, "memstore.yaml", tt.yaml), Env: append(tt.env, "MEMSTORE_DATA=/x"), Flags: tt.flags})
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
		})
	}
}

func TestUnknownVariables(t *testing.T) {
	l, err := Load(Inputs{File: os.DevNull, Env: []string{"MEMSTORE_DATA=/x", "MEMSTORE_PORT=tcp://10.0.0.1:80"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Unknown) != 1 || l.Unknown[0] != "MEMSTORE_PORT" {
		t.Errorf("Unknown = %q, want MEMSTORE_PORT", l.Unknown)
	}
}

func TestSize(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Size
		back string
	}{
		{"0", 0, "0"}, {"1", 1, "1"}, {"64MiB", 64 << 20, "64MiB"}, {"64 KiB", 64 << 10, "64KiB"},
		{"1536MiB", 1536 << 20, "1536MiB"}, {"1GB", 1e9, "1000000000"}, {"5kB", 5000, "5000"}, {"7B", 7, "7"},
	} {
		var s Size
		if err := s.UnmarshalText([]byte(tt.text)); err != nil || s != tt.want || s.String() != tt.back {
			t.Errorf("UnmarshalText(%q) = %d (%v), %v; want %d (%s)", tt.text, int64(s), s, err, int64(tt.want), tt.back)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "1 1", "9223372036854775807KiB", "1PiB"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("UnmarshalText(%q) succeeded", text)
		}
	}
}
