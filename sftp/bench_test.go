package sftp

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	pkgsftp "github.com/pkg/sftp"
)

// Both ends run in one process here, so these tell what a change costs, and not
// how fast the server is beside others.

func benchmarkTransfer(b *testing.B, transfer func(c *pkgsftp.Client, data []byte) error) {
	fsys := tempFs(b)
	data := content(64 << 20)
	put(b, fsys, "/f", data)
	c := start(b, fsys).client(b, pkgsftp.MaxPacketUnchecked(maxData), pkgsftp.UseConcurrentWrites(true))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := transfer(c, data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	benchmarkTransfer(b, func(c *pkgsftp.Client, data []byte) error {
		f, err := c.Create("/f")
		if err != nil {
			return err
		}
		if _, err := f.ReadFrom(bytes.NewReader(data)); err != nil {
			return err
		}
		return f.Close()
	})
}

func BenchmarkGet(b *testing.B) {
	benchmarkTransfer(b, func(c *pkgsftp.Client, _ []byte) error {
		f, err := c.Open("/f")
		if err != nil {
			return err
		}
		if _, err := f.WriteTo(io.Discard); err != nil {
			return err
		}
		return f.Close()
	})
}

func BenchmarkList10000(b *testing.B) {
	fsys := memFs(b)
	for i := range 10_000 {
		put(b, fsys, fmt.Sprintf("/name-%06d.txt", i), nil)
	}
	c := start(b, fsys).client(b)
	for b.Loop() {
		if list, err := c.ReadDir("/"); err != nil || len(list) != 10_000 {
			b.Fatal(len(list), err)
		}
	}
}

func BenchmarkLogin(b *testing.B) {
	s := start(b, memFs(b))
	for b.Loop() {
		s.dial(b).Close()
	}
}
