package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestMakeData(t *testing.T) {
	for name, tt := range map[string]struct {
		files   []string
		created bool
		refused string
	}{
		"nothing":                {nil, true, ""},
		"a fresh file system":    {[]string{"lost+found"}, true, ""},
		"a start that failed":    {[]string{"LOCK", controlName}, true, ""},
		"users only":             {[]string{controlDatabase}, false, ""},
		"a store":                {[]string{formatFile, "meta", "anything"}, false, ""},
		"somebody's home":        {[]string{".profile"}, false, "holds .profile"},
		"a store without FORMAT": {[]string{"meta", controlDatabase}, false, "has lost its FORMAT file"},
	} {
		dir := t.TempDir()
		for _, f := range tt.files {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		created, err := makeData(dir)
		if tt.refused != "" {
			if err == nil || !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("%s: makeData = %v, want an error with %q", name, err, tt.refused)
			}
			continue
		}
		info, serr := os.Stat(dir)
		if err != nil || created != tt.created || serr != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: makeData = %v, %v with mode %v; want %v with 0700", name, created, err, info.Mode(), tt.created)
		}
	}
	file := write(t, "file", "")
	if _, err := makeData(file); err == nil || !strings.Contains(err.Error(), "is a file, not a directory") {
		t.Errorf("makeData of a file = %v", err)
	}
}

func TestWithin(t *testing.T) {
	data := t.TempDir()
	other := t.TempDir()
	if err := os.Symlink(data, filepath.Join(other, "alias")); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{
		data: true, data + "/backup": true, data + "/a/b/../c": true, other + "/alias/backup": true,
		other: false, other + "/new/deep": false, filepath.Dir(data): false, data + "-backup": false,
	} {
		if got := within(data, dir); got != want {
			t.Errorf("within(%s, %s) = %v", data, dir, got)
		}
	}
}

// What root does for a server of another user must be that user's.
func TestHandOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can give files away")
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, 12345, 12346); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runLine(t, "", "user", "add", "--data", data, "--generate", "ann:tester"); code != 0 {
		t.Fatal(stderr)
	}
	entries, err := os.ReadDir(data)
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 12346 {
			t.Errorf("%s belongs to %d:%d", e.Name(), s.Uid, s.Gid)
		}
	}
}

func TestReserveOfEverything(t *testing.T) {
	l := &Loaded{Config: Defaults(), Sources: map[string]string{"disk.reserve": "--test"}}
	l.Data = t.TempDir()
	l.Gateway.Listen = ""
	l.Disk.Ballast = 0
	l.Disk.Reserve = 1 << 60
	if _, err := start(t.Context(), l, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "disk.reserve (--test): 1048576TiB is not less than the whole file system") {
		t.Errorf("start = %v", err)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0 things", 1: "1 thing", 2: "2 things"} {
		if got := count(n, "thing"); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
}
