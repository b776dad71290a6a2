package ftpclient

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"time"
)

func TestParseEntry(t *testing.T) {
	when := time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, tt := range []struct {
		line, kind string
		want       Entry
	}{
		{"Type=file;Size=7;Modify=20210304050607;UNIX.mode=0644; a b", "file", Entry{"a b", false, 7, when, 0o644}},
		{"type=dir;modify=20210304050607;  x", "dir", Entry{" x", true, 0, when, fs.ModeDir}},
		{"type=cdir;perm=el; .", "cdir", Entry{name: ".", dir: true, mode: fs.ModeDir}},
		{" bare", "", Entry{name: "bare"}},
	} {
		if got, kind, err := parseEntry(tt.line); err != nil || kind != tt.kind || got != tt.want {
			t.Errorf("parseEntry(%q) = %+v, %q, %v; want %+v, %q", tt.line, got, kind, err, tt.want, tt.kind)
		}
	}
	for _, line := range []string{"", "type=file", "size=x; a", "modify=yesterday; a", "unix.mode=9; a"} {
		if _, _, err := parseEntry(line); err == nil {
			t.Errorf("parseEntry(%q) succeeded", line)
		}
	}
}

func TestErrorIs(t *testing.T) {
	for said, kind := range map[string]error{
		"no such file or directory": fs.ErrNotExist, "Directory is not empty": syscall.ENOTEMPTY, "file exists": fs.ErrExist,
		"Permission denied": fs.ErrPermission, "is a directory": syscall.EISDIR,
	} {
		err := error(&Error{"RETR", 550, said})
		if !errors.Is(err, kind) {
			t.Errorf("%v is no %v", err, kind)
		}
		if errors.Is(err, fs.ErrClosed) {
			t.Errorf("%v is everything", err)
		}
	}
}
