package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

func TestConn(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
	var mu sync.Mutex
	conns := map[string]bool{}
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = true
		mu.Unlock()
		if r.Header.Get("X-Auth-Token") != "secret" {
			t.Errorf("%s %s came without the token", r.Method, r.URL)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		switch r.URL.Path {
		case "/v1/a/echo":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body)
		case "/v1/a/chunks":
			for part := range bytes.Lines(append(large, '\n')) {
				w.Write(part)
				w.(http.Flusher).Flush()
			}
		case "/v1/a/close":
			w.Header().Set("Connection", "close")
			io.WriteString(w, "bye")
		case "/v1/a/none":
			w.WriteHeader(204)
		case "/v1/a/missing":
			http.Error(w, "no", 404)
		}
	}))
	defer ts.Close()
	s, err := newServer("test", ts.URL+"/v1/a", "secret")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		method, path string
		body         []byte
		status       int
		size         int
	}{
		{"PUT", "/echo", []byte("hello"), 200, 5},
		{"PUT", "/echo", []byte{}, 200, 0},
		{"PUT", "/echo", large, 200, len(large)},
		{"GET", "/chunks", nil, 200, len(large) + 1},
		{"HEAD", "/echo", nil, 200, 0},
		{"DELETE", "/none", nil, 204, 0},
		{"GET", "/missing", nil, 404, 3},
		{"GET", "/close", nil, 200, 3},
		{"GET", "/missing", nil, 404, 3},
	}
	c := s.dial()
	defer c.close()
	for _, tt := range tests {
		r, err := c.do(tt.method, tt.path, tt.body)
		if err != nil || r.status != tt.status || r.size != int64(tt.size) {
			t.Errorf("do(%s %s) = %+v, %v, want status %d and %d bytes", tt.method, tt.path, r, err, tt.status, tt.size)
		}
	}
	if len(conns) != 2 {
		t.Errorf("%d connections were made, want one, and another after it was closed", len(conns))
	}
}
