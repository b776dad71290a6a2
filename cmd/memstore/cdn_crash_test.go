package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var cdnKills = flag.Int("cdn-kills", 3, "how often TestEdgeOutlivesKills kills the edge")

// crashBody is object n of the origin of TestEdgeOutlivesKills: small ones, ones
// that go to the disk as they come, and now and then one in slices.
func crashBody(n int) []byte {
	rng := rand.New(rand.NewPCG(11, uint64(n)))
	size := 1 + rng.IntN(40<<10)
	switch n % 20 {
	case 7, 8, 9:
		size = 64<<10 + rng.IntN(1<<20)
	case 10:
		size = 5<<20 + rng.IntN(1<<20)
	}
	b := make([]byte, size)
	var seed [32]byte
	copy(seed[:], strconv.Itoa(n))
	rand.NewChaCha8(seed).Read(b)
	return b
}

// A killable is an edge in a process of its own.
type killable struct {
	cmd *exec.Cmd
	url string
}

func startKillable(t *testing.T, origin, data string, more ...string) *killable {
	t.Helper()
	cmd := exec.Command("memstore", append([]string{"edge", "--origin", origin, "--listen", "127.0.0.1:0", "--data", data}, more...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	url := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`).FindString(line)
	if err != nil || url == "" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the edge said %q, %v", line, err)
	}
	return &killable{cmd, url}
}

func (k *killable) end(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := k.cmd.Process.Signal(s); err != nil {
		t.Error(err)
	}
	k.cmd.Wait()
}

// fetchBody asks for object n, only of what is kept if that is wanted; a nil
// body is one that did not come whole.
func (k *killable) fetchBody(ctx context.Context, client *http.Client, n int, kept bool) (status int, body []byte) {
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/%d", k.url, n), nil)
	if err != nil {
		return 0, nil
	}
	if kept {
		req.Header.Set("Cache-Control", "only-if-cached")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		body = nil
	}
	return resp.StatusCode, body
}

// An edge that is killed while it fills is warm when it starts again, and gives
// no byte that is not right.
func TestEdgeOutlivesKills(t *testing.T) {
	const base = 200
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "max-age=86400")
		w.Header().Set("Etag", fmt.Sprintf(`"%d"`, n))
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(crashBody(n)))
	}))
	defer origin.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	data := t.TempDir()

	k := startKillable(t, origin.URL, data)
	for n := range base {
		if status, body := k.fetchBody(t.Context(), client, n, false); status != 200 || !bytes.Equal(body, crashBody(n)) {
			t.Fatalf("object %d: %d, %d bytes", n, status, len(body))
		}
	}
	k.end(t, syscall.SIGTERM)
	next := base
	var slowest time.Duration
	for round := range *cdnKills {
		k := startKillable(t, origin.URL, data)
		ctx, cancel := context.WithCancel(t.Context())
		var filling sync.WaitGroup
		var n, done atomic.Int64
		n.Store(int64(next))
		for range 8 {
			filling.Go(func() {
				for ctx.Err() == nil {
					i := int(n.Add(1) - 1)
					if status, body := k.fetchBody(ctx, client, i, false); body != nil && status == 200 {
						if !bytes.Equal(body, crashBody(i)) {
							t.Errorf("object %d came with other bytes", i)
						}
						done.Add(1)
					}
				}
			})
		}
		timer := time.NewTimer(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		<-timer.C
		k.end(t, syscall.SIGKILL)
		cancel()
		filling.Wait()
		last := int(n.Load())

		begun := time.Now()
		k = startKillable(t, origin.URL, data)
		slowest = max(slowest, time.Since(begun))
		warm, also := 0, 0
		for i := range last {
			status, body := k.fetchBody(t.Context(), client, i, true)
			switch {
			case status == 504:
			case status != 200:
				t.Errorf("round %d: object %d is %d", round, i, status)
			case body == nil: // cut off: slices that are not there may not be fetched
			case !bytes.Equal(body, crashBody(i)):
				t.Errorf("round %d: object %d has other bytes", round, i)
			case i < base:
				warm++
			default:
				also++
			}
		}
		k.end(t, syscall.SIGKILL)
		if warm < base*99/100 {
			t.Errorf("round %d: %d of %d objects that were kept before are there", round, warm, base)
		}
		t.Logf("round %d: killed after %d fills; %d of %d kept before are there, and %d later ones", round, done.Load(), warm, base, also)
		next = last
	}
	t.Logf("the slowest start took %v", slowest)
}
