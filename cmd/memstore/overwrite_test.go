package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/internal/ftpclient"
)

// A stream begins to read a file by a door.
type stream func(t *testing.T, name string) io.ReadCloser

func (w viaSwift) stream(t *testing.T, name string) io.ReadCloser {
	return w.do(t, "GET", name, nil).Body
}

func (w viaSFTP) stream(t *testing.T, name string) io.ReadCloser {
	f, err := w.c.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (w viaFTP) stream(t *testing.T, name string) io.ReadCloser {
	c, err := ftpclient.Dial(t.Context(), w.n.files.ftp.Addr().String(), ftpclient.Options{
		User: strings.Replace(w.n.user, ":", ".", 1), Password: w.n.password,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Cut)
	d, err := c.Retrieve("/"+name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Who reads a file by one door while it is replaced by another reads the one
// that he opened, to its end; who comes after reads the new one.
func TestOverwriteWhileRead(t *testing.T) {
	needProgram(t, "curl")
	n := fileNode(t, nil)
	id, err := n.realm.Password(t.Context(), auth.Attempt{User: n.user, Door: "swift"}, n.password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := n.realm.Issue(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	swift, sftp, ftp := viaSwift{n, token.Secret}, viaSFTP{dialSFTP(t, n)}, viaFTP{n}
	swift.do(t, "PUT", "box", nil)
	writers := map[string]way{"swift": swift, "sftp": sftp, "ftp": ftp}
	readers := map[string]stream{"swift": swift.stream, "sftp": sftp.stream, "ftp": ftp.stream}
	// Of what a connection holds on its way this is a multiple.
	before, after := make([]byte, 24<<20), make([]byte, 16<<20)
	random := rand.NewChaCha8([32]byte{'o', 'v', 'e', 'r'})
	random.Read(before)
	random.Read(after)
	mtime := time.Unix(1614834367, 0)
	for by, writer := range writers {
		for from, read := range readers {
			t.Run(by+" over "+from, func(t *testing.T) {
				const name = "box/file"
				writer.put(t, name, before, mtime)
				r := read(t, name)
				defer r.Close()
				got := make([]byte, 1000)
				if _, err := io.ReadFull(r, got); err != nil {
					t.Fatal(err)
				}
				writer.put(t, name, after, mtime)
				again := read(t, name)
				defer again.Close()
				rest, err := io.ReadAll(r)
				if got = append(got, rest...); err != nil || !bytes.Equal(got, before) {
					t.Errorf("it read %d bytes, %v, and not the %d that it began with", len(got), err, len(before))
				}
				if got, err = io.ReadAll(again); err != nil || !bytes.Equal(got, after) {
					t.Errorf("one who came later read %d bytes, %v, and not the %d that were there", len(got), err, len(after))
				}
			})
		}
	}
}
