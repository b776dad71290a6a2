package front

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	leaf := func(domain string) []byte {
		t.Helper()
		certificate, err := SelfSigned(dir, domain)
		if err != nil {
			t.Fatal(err)
		}
		pair, _ := certificate(nil)
		for _, name := range []string{domain, "a." + domain, "localhost", "127.0.0.1"} {
			if err := pair.Leaf.VerifyHostname(name); err != nil {
				t.Errorf("certificate of %s: %v", domain, err)
			}
		}
		return pair.Certificate[0]
	}
	first := leaf("cdn.test")
	if !slices.Equal(first, leaf("cdn.test")) {
		t.Error("another certificate at the second start")
	}
	if slices.Equal(first, leaf("cdn.example")) {
		t.Error("the same certificate for another domain")
	}
	info, err := os.Stat(filepath.Join(dir, selfSignedFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v, want mode 0600", info.Mode(), err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))
		if slices.Equal(first, leaf("cdn.test")) {
			t.Error("a certificate that has ended is used")
		}
	})
}

func TestFilesReload(t *testing.T) {
	dir := t.TempDir()
	make := func(name string) []byte {
		t.Helper()
		pair, err := selfSign(dir, []string{name})
		if err != nil {
			t.Fatal(err)
		}
		return pair.Certificate[0]
	}
	file := filepath.Join(dir, selfSignedFile)
	first := make("first.test")
	synctest.Test(t, func(t *testing.T) {
		f, err := LoadFiles(file, file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		held := func() []byte {
			pair, err := f.Certificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			return pair.Certificate[0]
		}
		if !slices.Equal(held(), first) {
			t.Fatal("not the certificate of the file")
		}
		// Half of a change: the certificate that works stays.
		os.WriteFile(file, []byte("-----BEGIN"), 0o600)
		os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour))
		time.Sleep(lookEvery)
		if !slices.Equal(held(), first) {
			t.Error("not the certificate before the one that is broken")
		}
		second := make("second.test")
		os.Chtimes(file, time.Time{}, time.Now().Add(2*time.Hour))
		time.Sleep(lookEvery)
		if !slices.Equal(held(), second) {
			t.Error("a changed certificate is not read")
		}
	})
	if _, err := LoadFiles(filepath.Join(dir, "none"), file, nil); err == nil {
		t.Error("a certificate that is not there is loaded")
	}
}
