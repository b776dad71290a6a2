package vfs_test

import (
	"slices"
	"testing"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
)

// What a file was stays, by whichever door it is overwritten, renamed or
// removed; and nobody finds it among his files.
func TestFilesHaveVersions(t *testing.T) {
	h := newHouse(t)
	h.must(h.s.Merge(h.Context(), storage.Path{Account: account, Container: "c"}, storage.Meta{storage.MetaVersionsEnabled: "True"}))
	ann := h.session("ann")
	write := func(name, content string) {
		t.Helper()
		h.must(afero.WriteFile(ann, name, []byte(content), 0o644))
	}
	h.must(ann.Mkdir("/c/dir", 0o755))
	write("/c/dir/file", "1")
	write("/c/dir/file", "22")
	h.must(ann.Rename("/c/dir/file", "/c/dir/moved"))
	h.must(ann.Remove("/c/dir/moved"))
	list, err := h.s.Versions(h.Context(), storage.Path{Account: account, Container: "c"}, storage.VersionQuery{Query: storage.Query{Prefix: "dir/", Limit: 100}})
	h.must(err)
	var got []string
	for _, v := range list {
		what := v.Path.Object + " " + v.ETag
		if v.Type == storage.MarkerType {
			what = v.Path.Object + " removed"
		}
		got = append(got, what)
	}
	want := []string{
		"dir/file removed", "dir/file b6d767d2f8ed5d21a44b0e5886680cb9", "dir/file c4ca4238a0b923820dcc509a6f75849b",
		"dir/moved removed", "dir/moved b6d767d2f8ed5d21a44b0e5886680cb9",
	}
	got = slices.DeleteFunc(got, func(s string) bool { return s[:5] == "dir/ " })
	if !slices.Equal(got, want) {
		t.Errorf("versions %q, want %q", got, want)
	}
	top, err := afero.ReadDir(ann, "/")
	h.must(err)
	for _, entry := range top {
		if entry.Name()[0] == 0xff {
			t.Errorf("the top directory has %q", entry.Name())
		}
	}
	for _, name := range []string{"/\xffversions\xff", "/\xffversions\xff/x"} {
		if _, err := ann.Stat(name); err == nil {
			t.Errorf("there is %q", name)
		}
	}
}
