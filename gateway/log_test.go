package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/storage/memory"
)

// counts is a Metrics that writes down what it is told.
type counts struct{ lines []string }

func (m *counts) Request(door, method string, status int, in, out int64, took time.Duration) {
	m.lines = append(m.lines, fmt.Sprint(door, " ", method, " ", status, " ", in, " ", out, " ", took > 0))
}

func TestLog(t *testing.T) {
	m := new(counts)
	l := newLabOver(t, memory.New(), func(c *Config) { c.Metrics = m })
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/a%20b", "hello")
	a := l.must(200, "GET", "/v1/AUTH_ann/c/a%20b?temp_url_prefix=sikrit", "")
	l.ask("", "GET", "/v1/AUTH_ann/c/a%20b", "", "X-Auth-Token: AUTH_tksikrit")
	l.ask("ann", "BREW", "/v1/AUTH_ann/c", "")
	want := []string{"swift PUT 201 0 0 true", "swift PUT 201 5 0 true", "swift GET 200 0 5 true", "swift GET 401 0 131 true", "swift other 405 0 91 true"}
	if got := strings.Join(m.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("metrics are told\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	log := l.log.String()
	if strings.Contains(log, "sikrit") {
		t.Errorf("the log tells a secret: %s", log)
	}
	for _, part := range []string{a.header.Get("X-Trans-Id"), "door=swift", "user=ann:boss", "method=GET", "path=/v1/AUTH_ann/c/a%20b", "status=200", "in=5", "out=5", "status=401"} {
		if !strings.Contains(log, part) {
			t.Errorf("the log does not tell %s: %s", part, log)
		}
	}
	if !strings.Contains(log, `status=401 in=0 out=131`) || !strings.Contains(log, `error="the token does not hold"`) || strings.Contains(log, "refused with status") {
		t.Errorf("the log does not say well why requests were refused: %s", log)
	}
	if n := strings.Count(log, "msg=request"); n != 5 {
		t.Errorf("%d records of 5 requests", n)
	}
}
