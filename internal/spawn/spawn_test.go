package spawn

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program writes a shell script that stands in for memstore.
func program(t *testing.T, script string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "memstore")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(program(t, script), t.TempDir(), nil, []string{"EXTRA=yes"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestReady(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthcheck":
		case r.Header.Get("X-Auth-User") == User && r.Header.Get("X-Auth-Key") == Password:
			w.Header().Set("X-Storage-Url", "http://somewhere/v1/AUTH_bench/")
			w.Header().Set("X-Auth-Token", "token")
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer ts.Close()
	p := start(t, fmt.Sprintf("echo \"$1 $EXTRA $MEMSTORE_USER\"; echo '  Swift  %s/auth/v1.0'; exec sleep 1000", ts.URL))
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.URL != ts.URL {
		t.Errorf("URL = %s, want %s", p.URL, ts.URL)
	}
	if want := "serve yes " + User; !strings.Contains(p.Output(), want) {
		t.Errorf("output = %q, want %q in it", p.Output(), want)
	}
	if url, token, err := p.Login(t.Context()); err != nil || url != "http://somewhere/v1/AUTH_bench" || token != "token" {
		t.Errorf("Login = %q, %q, %v", url, token, err)
	}
	if _, _, err := Login(t.Context(), ts.URL, User, "wrong"); err == nil {
		t.Error("Login with a wrong password succeeded")
	}
	if now, peak, err := p.Resident(); err != nil || now <= 0 || peak < now {
		t.Errorf("Resident = %d, %d, %v", now, peak, err)
	}
	if rest, err := p.Idle(t.Context(), time.Minute); err != nil || rest > 30*time.Second {
		t.Errorf("Idle = %v, %v of a process that sleeps", rest, err)
	}
	p.Kill()
	select {
	case <-p.Ended():
	default:
		t.Error("a process that was killed has not ended")
	}
}

// What a program says last is not lost with it.
func TestEndsAtItsStart(t *testing.T) {
	p := start(t, "echo first; echo 'no such thing' >&2; exit 3")
	err := p.Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Ready = %v, want the exit status and what was said", err)
	}
}

func TestStop(t *testing.T) {
	p := start(t, "trap 'exit 0' TERM; echo set; while :; do sleep 0.01; done")
	for !strings.Contains(p.Output(), "set") { // the trap
		select {
		case <-p.Ended():
			t.Fatal("ended by itself")
		case <-time.After(time.Millisecond):
		}
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Errorf("Stop = %v", err)
	}
	p = start(t, "exec sleep 1000")
	if err := p.Stop(t.Context()); err == nil {
		t.Error("Stop of a program that SIGTERM kills succeeded")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p = start(t, "trap '' TERM; while :; do sleep 0.01; done")
	if err := p.Stop(ctx); err == nil {
		t.Error("Stop of a program that does not listen succeeded")
	}
}
