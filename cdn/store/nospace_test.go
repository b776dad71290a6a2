package store

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A file system that is really full.
func TestFullFileSystem(t *testing.T) {
	opt := onDiskOptions(t)
	if err := unix.Mount("tmpfs", opt.Dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("cannot mount a small file system: ", err)
	}
	t.Cleanup(func() { unix.Unmount(opt.Dir, unix.MNT_DETACH) })
	s := open(t, opt)
	kept := 0
	for i := range 40 {
		body := content(uint64(i), 400_000)
		f := s.Create(key(i), []byte("h"), -1)
		e := f.Entry()
		read := make(chan error)
		go func() {
			b, err := readAll(e, 0, -1)
			if err == nil && !bytes.Equal(b, body) {
				err = errors.New("other bytes")
			}
			e.Release()
			read <- err
		}()
		if _, err := f.Write(body); err != nil {
			t.Fatal(err)
		}
		switch err := f.Commit(); {
		case err == nil:
			kept++
		case !errors.Is(err, ErrNotKept):
			t.Fatal(err)
		}
		if err := <-read; err != nil {
			t.Errorf("reader of fill %d: %v", i, err)
		}
		if i%10 == 0 {
			s.Remove(key(i))
		}
	}
	if kept == 0 || kept == 40 || !s.Stats().DiskDown {
		t.Errorf("%d of 40 kept on 8 MiB; DiskDown = %v", kept, s.Stats().DiskDown)
	}
	s.Close()
	s = open(t, opt)
	back := 0
	for i := range 40 {
		if e := s.Get(key(i)); e != nil {
			if i%10 == 0 {
				t.Errorf("entry %d was removed", i)
			}
			check(t, e, []byte("h"), content(uint64(i), 400_000))
			e.Release()
			back++
		}
	}
	if back == 0 {
		t.Error("nothing came back")
	}
}
