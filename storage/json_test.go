package storage_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"memstore.dev/memstore/storage"
)

func FuzzJSON(f *testing.F) {
	f.Add("é\"\\\n\t\x01\x7f😀\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		b := storage.AppendJSON(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Fatalf("AppendJSON(%q) = %s, which is %q, %v", s, b, got, err)
		}
		for _, ch := range b {
			if ch < ' ' || ch > '~' {
				t.Fatalf("AppendJSON(%q) = %q", s, b)
			}
		}
	})
}
