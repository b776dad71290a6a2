package vfs_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/disk"
	"memstore.dev/memstore/storage/vfs"
)

const killedDir = "MEMSTORE_TEST_KILLED_UPLOAD_DIR"

// longUpload is more than what comes between two moments at which an upload is
// made safe.
const longUpload = 200 << 20

// sent are the bytes of that upload at an offset.
func sent(off int64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(off >> 20), byte(off >> 28)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// engine is a filesystem over the engine in a directory.
func engine(t *testing.T, dir string) (*vfs.FS, *storage.Store, *disk.Backend) {
	t.Helper()
	b, err := disk.Open(dir, disk.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := storage.New(b)
	return vfs.New(context.Background(), s, "AUTH_ann", vfs.Options{Owner: "ann:tester"}), s, b
}

// TestKilledUploadChild is not a test but the process that TestKilledUpload
// kills. It says when it has written all, and some of it is safe.
func TestKilledUploadChild(t *testing.T) {
	dir := os.Getenv(killedDir)
	if dir == "" {
		return // only a process that TestKilledUpload starts does something
	}
	f, _, b := engine(t, dir)
	if err := f.Mkdir("/box", 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := f.Create("/box/big")
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < longUpload; off += 1 << 20 {
		if _, err := file.Write(sent(off, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	for safe := false; !safe; { // of a stage that is open, the engine tells the note of when it was safe last
		for k, err := range b.Staged(t.Context(), "") {
			safe = err == nil && k.Note != nil
		}
	}
	fmt.Println("written")
	select {}
}

// An upload that is open when the process is killed is found by its user as one
// that was cut off: not all of it, but what is there is right, he may go on, and
// nobody else sees anything.
func TestKilledUpload(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200 MiB")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledUploadChild$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "written" {
		t.Log(lines.Text())
	}
	cmd.Process.Kill()
	cmd.Wait()

	f, s, b := engine(t, dir)
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.Stat(t.Context(), storage.Path{Account: "AUTH_ann", Container: "box", Object: "big"}); err == nil {
		t.Error("others see an upload that was cut off")
	}
	in, err := f.Stat("/box/big")
	if err != nil {
		t.Fatalf("nothing is left to resume: %v", err)
	}
	t.Logf("%d of %d MiB are left", in.Size()>>20, longUpload>>20)
	if in.Size() < 64<<20 || in.Size() > longUpload {
		t.Errorf("%d bytes are left of %d", in.Size(), longUpload)
	}
	file, err := f.OpenFile("/box/big", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	sum := md5.New()
	for off := int64(0); off < longUpload; off += 1 << 20 {
		data := sent(off, 1<<20)
		sum.Write(data)
		got := make([]byte, max(0, min(1<<20, in.Size()-off)))
		if _, err := file.ReadAt(got, off); err != nil && err != io.EOF || !bytes.Equal(got, data[:len(got)]) {
			t.Fatalf("what is left at %d MiB is not what was sent: %v", off>>20, err)
		}
	}
	for at := in.Size(); at < longUpload; {
		begin := at &^ (1<<20 - 1)
		data := sent(begin, 1<<20)[at-begin:]
		if _, err := file.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
		at += int64(len(data))
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	became, err := s.Stat(t.Context(), storage.Path{Account: "AUTH_ann", Container: "box", Object: "big"})
	if want := hex.EncodeToString(sum.Sum(nil)); err != nil || became.Size != longUpload || became.ETag != want {
		t.Errorf("it has become %d bytes with ETag %s, %v; want %d, %s", became.Size, became.ETag, err, longUpload, want)
	}
}
