package peer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"memstore.dev/memstore/internal/peer"
)

// The peer is what it says: a Swift whose users can log in, store and read, and
// which is gone when it is stopped, but for what it stored.
func TestSwift(t *testing.T) {
	dir := t.TempDir()
	start := func() *peer.Swift {
		s, err := peer.StartSwift(context.Background(), dir, peer.SwiftOptions{})
		if errors.Is(err, peer.ErrUnavailable) {
			peer.SwiftFor(t, peer.SwiftOptions{}) // skips, or fails where it may not
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := start()
	for _, user := range []peer.User{peer.Tester, peer.Tester2, peer.Tester3, peer.Other, peer.Admin} {
		login(t, s, user)
	}
	token, account := login(t, s, peer.Tester)
	do(t, "PUT", account+"/c", token, "", http.StatusCreated)
	do(t, "PUT", account+"/c/o", token, "some bytes", http.StatusCreated)
	if got := do(t, "GET", account+"/c/o", token, "", http.StatusOK); got != "some bytes" {
		t.Errorf("the object reads %q", got)
	}
	for _, size := range []string{"a little", "and a little more"} {
		do(t, "PUT", account+"/c/o", token, size, http.StatusCreated)
		if err := s.Update(); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`"bytes": %d`, len(size))
		if got := do(t, "GET", account+"?format=json", token, "", http.StatusOK); !strings.Contains(got, want) {
			t.Errorf("the account lists %s, want %s", got, want)
		}
	}
	do(t, "PUT", account+"/c/o", token, "some bytes", http.StatusCreated)
	if err := s.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", at.Host); err == nil {
		c.Close()
		t.Error("a stopped Swift still listens")
	}

	s = start()
	defer s.Stop()
	token, account = login(t, s, peer.Tester)
	if got := do(t, "GET", account+"/c/o", token, "", http.StatusOK); got != "some bytes" {
		t.Errorf("after a restart the object reads %q", got)
	}
}

func login(t *testing.T, s *peer.Swift, user peer.User) (token, account string) {
	t.Helper()
	r, err := http.NewRequest("GET", s.AuthURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Auth-User", user.Name)
	r.Header.Set("X-Auth-Key", user.Password)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	token, account = answer.Header.Get("X-Auth-Token"), answer.Header.Get("X-Storage-Url")
	if answer.StatusCode != http.StatusOK || token == "" || account == "" {
		t.Fatalf("the login of %s was answered %s", user.Name, answer.Status)
	}
	return token, account
}

func do(t *testing.T, method, url, token, body string, want int) string {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Auth-Token", token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != want {
		t.Fatalf("%s %s was answered %s, want %d: %s", method, url, answer.Status, want, got)
	}
	return string(got)
}
