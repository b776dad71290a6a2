package gateway

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
)

// signedForm is the beginning of a form, up to its first file.
func signedForm(path, key, redirect string) string {
	expires := fmt.Sprint(time.Now().Add(time.Minute).Unix())
	var b strings.Builder
	for _, f := range [][2]string{
		{"redirect", redirect}, {"max_file_size", "100"}, {"max_file_count", "2"}, {"expires", expires},
		{"signature", sign("sha256", key, path, redirect, "100", "2", expires)},
	} {
		fmt.Fprintf(&b, "--xx\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", f[0], f[1])
	}
	return b.String()
}

func formFile(name, content string) string {
	return "--xx\r\nContent-Disposition: form-data; name=\"f\"; filename=\"" + name + "\"\r\n\r\n" + content + "\r\n"
}

func TestFormPost(t *testing.T) {
	const end = "--xx--\r\n"
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Meta-Temp-Url-Key: k")
	post := func(form string) answer {
		t.Helper()
		return l.ask("", "POST", "/v1/AUTH_ann/c", form, "Content-Type: multipart/form-data; boundary=xx")
	}
	begin := signedForm("/v1/AUTH_ann/c", "k", "")
	if a := post(begin + formFile("a", "hello") + formFile(`dir/../b`, "") + end); a.status != 201 {
		t.Fatalf("a signed form = %d %q", a.status, a.body)
	}
	if a := l.must(200, "GET", "/v1/AUTH_ann/c/a", ""); a.body != "hello" {
		t.Errorf("the object is %q", a.body)
	}
	l.must(200, "GET", "/v1/AUTH_ann/c/dir/../b", "")

	t.Run("cut short", func(t *testing.T) {
		whole := begin + formFile("cut", "0123456789")
		for _, n := range []int{len(whole) - 15, len(whole) - 2, len(whole)} {
			if a := post(whole[:n]); a.status < 400 {
				t.Errorf("%d bytes of a form = %d", n, a.status)
			}
			if a := l.ask("ann", "GET", "/v1/AUTH_ann/c/cut", ""); a.status != 404 {
				t.Errorf("%d bytes of a form have left %q", n, a.body)
			}
		}
	})
	t.Run("too large", func(t *testing.T) {
		if a := post(begin + formFile("large", strings.Repeat("x", 101)) + end); a.status != 400 || a.body != "FormPost: max_file_size exceeded" {
			t.Errorf("= %d %q", a.status, a.body)
		}
		l.must(404, "GET", "/v1/AUTH_ann/c/large", "")
	})
	t.Run("an altered field", func(t *testing.T) {
		a := post(strings.Replace(begin, "\r\n\r\n100\r\n", "\r\n\r\n1000\r\n", 1) + formFile("altered", "x") + end)
		if a.status != 401 {
			t.Errorf("= %d %q", a.status, a.body)
		}
	})
	t.Run("fields without end", func(t *testing.T) {
		if a := post(strings.Repeat("--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n", 200) + end); a.status != 400 {
			t.Errorf("= %d %q", a.status, a.body)
		}
	})
	t.Run("redirect", func(t *testing.T) {
		if a := post(signedForm("/v1/AUTH_ann/c", "k", "http://a/<\"b") + formFile("r", "x") + end); a.status != 303 ||
			strings.Contains(a.body, `<"b`) || a.header.Get("Location") == "" {
			t.Errorf("signed = %d %q %v", a.status, a.body, a.header)
		}
		if a := post(signedForm("/v1/AUTH_ann/c", "not the key", "http://evil/") + end); a.status != 400 || a.header.Get("Location") != "" {
			t.Errorf("not signed = %d %q %v", a.status, a.body, a.header)
		}
	})
	t.Run("where there are no keys", func(t *testing.T) {
		l.must(201, "PUT", "/v1/AUTH_ann/d", "")
		a := l.ask("", "POST", "/v1/AUTH_ann/d", signedForm("/v1/AUTH_ann/d", "", "")+formFile("a", "x")+end, "Content-Type: multipart/form-data; boundary=xx")
		if a.status != 401 {
			t.Errorf("= %d %q", a.status, a.body)
		}
	})
	if in, err := l.store.Stat(newOwner("ann"), storage.Path{Account: "AUTH_ann", Container: "c"}); err != nil || in.Objects != 3 {
		t.Errorf("there are %d objects, %v, want those of the forms that were accepted", in.Objects, err)
	}
}

func TestDisposed(t *testing.T) {
	for in, want := range map[string]map[string]string{
		`form-data; name="a"; filename="x;y.txt"`: {"name": "a", "filename": "x;y.txt"},
		`form-data; name=a;filename=b`:            {"name": "a", "filename": "b"},
		`form-data;name="a\";filename="b"`:        {"name": `a\`, "filename": "b"},
		`form-data; name="open`:                   {},
		`form-data`:                               {},
	} {
		if kind, got := disposed(in); kind != "form-data" || !maps.Equal(got, want) {
			t.Errorf("disposed(%q) = %q, %v, want %v", in, kind, got, want)
		}
	}
}

func FuzzForm(f *testing.F) {
	f.Add(signedForm("/v1/AUTH_ann/c", "k", "") + formFile("a", "b") + "--xx--\r\n")
	l := newLab(f)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Meta-Temp-Url-Key: k")
	f.Fuzz(func(t *testing.T, body string) {
		l := &lab{t: t, g: l.g}
		a := l.ask("", "POST", "/v1/AUTH_ann/c", body, "Content-Type: multipart/form-data; boundary=xx")
		if a.status >= 500 {
			t.Errorf("%q is answered with %d", body, a.status)
		}
	})
}
