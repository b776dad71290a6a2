package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A load is what is asked for in a case.
type load struct {
	name  string
	title string
	path  string // what to fetch first, so that it is kept
	size  int
	lua   string // what wrk asks; it has %d for the round
}

var loads = []load{
	{"1k", "hits of 1 KiB", "/1k", 1 << 10, ""},
	{"64k", "hits of 64 KiB", "/64k", 64 << 10, ""},
	{"1m", "hits of 1 MiB", "/1m", 1 << 20, ""},
	{"range", "64 KiB out of 1 MiB", "/1m", 1 << 20, rangesLua},
	{"miss", "misses of 1 KiB", "", 0, missesLua},
	{"mix", "Zipf mix, 1 to 60 KiB", "", 0, ""},
}

func caseNames() (names []string) {
	for _, l := range loads {
		names = append(names, l.name)
	}
	return names
}

func loadOf(name string) load {
	for _, l := range loads {
		if l.name == name {
			return l
		}
	}
	panic("no load " + name)
}

// What wrk asks for, for each of its threads.
const (
	rangesLua = `
local n = 0
request = function()
  n = (n + 7) %% 15
  wrk.headers["Range"] = "bytes=" .. n * 65536 + 100 .. "-" .. n * 65536 + 65635
  return wrk.format("GET", "/1m")
end
-- %d
`
	missesLua = `
local threads, n = 0, 0
setup = function(thread) thread:set("id", threads); threads = threads + 1 end
request = function()
  n = n + 1
  return wrk.format("GET", "/miss/%d-" .. id .. "-" .. n)
end
`
)

// A result is what wrk and the clocks say of one run.
type result struct {
	perSecond float64
	bytes     float64 // per second
	p50, p99  time.Duration
	cpu       time.Duration // of the server, for each request
	others    float64       // part of the processors that neither server, origin nor wrk had
}

// measure measures a case of a server.
func (b *bench) measure(ctx context.Context, s *server, name string, round int) error {
	l := loadOf(name)
	if l.path != "" {
		for range 3 {
			if err := s.get(ctx, l.path, l.size); err != nil {
				return err
			}
		}
	}
	args := []string{}
	if l.lua != "" {
		script := filepath.Join(b.dir, name+".lua")
		if err := os.WriteFile(script, fmt.Appendf(nil, l.lua, round), 0o644); err != nil {
			return err
		}
		args = []string{"-s", script}
	}
	r, err := b.wrk(ctx, s, args, l.path)
	if err != nil {
		return err
	}
	b.add(name, s.name, r)
	return nil
}

func (b *bench) add(name, server string, r result) {
	if b.results[name] == nil {
		b.results[name] = map[string][]result{}
	}
	b.results[name][server] = append(b.results[name][server], r)
}

// wrk has a server asked.
func (b *bench) wrk(ctx context.Context, s *server, args []string, path string) (r result, err error) {
	args = append([]string{"-t2", fmt.Sprintf("-c%d", b.connections), fmt.Sprintf("-d%ds", max(1, int(b.time.Seconds()))),
		"--timeout", "20s", "--latency"}, args...)
	cmd := exec.CommandContext(ctx, "wrk", append(args, s.url+path)...)
	had, err := s.worked()
	if err != nil {
		return r, err
	}
	originHad, _ := b.origin.worked()
	busy, start := busyProcessors(), time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("wrk: %w: %s", err, out)
	}
	took, busier := time.Since(start), busyProcessors()-busy
	has, err := s.worked()
	if err != nil {
		return r, err
	}
	originHas, _ := b.origin.worked()
	ours := has - had + originHas - originHad + cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r, requests, err := parseWrk(string(out))
	if err != nil {
		return r, err
	}
	r.cpu = (has - had) / time.Duration(max(requests, 1))
	r.others = max(0, (busier-ours).Seconds()/took.Seconds()/float64(processors()))
	return r, nil
}

var (
	wrkRate     = regexp.MustCompile(`Requests/sec: +([0-9.]+)`)
	wrkVolume   = regexp.MustCompile(`Transfer/sec: +([0-9.]+)([KMGT]?)B`)
	wrkRequests = regexp.MustCompile(`([0-9]+) requests in `)
	wrkLatency  = regexp.MustCompile(`(?m)^ +(50|99)% +([0-9.]+)(us|ms|s|m)`)
	wrkErrors   = regexp.MustCompile(`Socket errors.*|Non-2xx.*`)
)

// parseWrk reads what wrk printed. A run with an error in it counts for nothing.
func parseWrk(out string) (r result, requests int64, err error) {
	if bad := wrkErrors.FindString(out); bad != "" {
		return r, 0, errors.New(bad)
	}
	rate, volume, n := wrkRate.FindStringSubmatch(out), wrkVolume.FindStringSubmatch(out), wrkRequests.FindStringSubmatch(out)
	if rate == nil || volume == nil || n == nil {
		return r, 0, fmt.Errorf("wrk said %q", out)
	}
	r.perSecond, _ = strconv.ParseFloat(rate[1], 64)
	r.bytes, _ = strconv.ParseFloat(volume[1], 64)
	r.bytes *= math.Pow(1024, float64(strings.Index(" KMGT", " "[:1-len(volume[2])]+volume[2])))
	for _, m := range wrkLatency.FindAllStringSubmatch(out, -1) {
		d, err := time.ParseDuration(m[2] + m[3])
		if err != nil {
			return r, 0, err
		}
		if m[1] == "50" {
			r.p50 = d
		} else {
			r.p99 = d
		}
	}
	requests, err = strconv.ParseInt(n[1], 10, 64)
	return r, requests, err
}

// busyProcessors is how long the processors have worked, for anybody.
func busyProcessors() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 8 {
		return 0
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		n, _ := strconv.ParseInt(f[i], 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// The mix.

// mixBytes is how large all objects of the mix are together.
const mixBytes = 4 << 26 // four times what small has in memory

// mixCount is how many there are.
var mixCount = func() int {
	total := 0
	for i := 0; ; i++ {
		if total += mixSize(i); total > mixBytes {
			return i
		}
	}
}()

// mixSize is the length of an object of the mix, from 1 to 60 KiB, whatever its
// popularity.
func mixSize(i int) int {
	rng := rand.New(rand.NewPCG(7, uint64(i)))
	return int(1024 * math.Pow(60, rng.Float64()))
}

// mixExponent is that of Zipf's law.
const mixExponent = 0.9

// cumulate is how likely each object or one before it is asked for.
func cumulate() []float64 {
	sums := make([]float64, mixCount)
	total := 0.0
	for i := range sums {
		total += 1 / math.Pow(float64(i+1), mixExponent)
		sums[i] = total
	}
	for i := range sums {
		sums[i] /= total
	}
	return sums
}

// trace draws n requests, the same whenever it is asked.
func trace(seed uint64, n int) []int {
	sums, rng := cumulate(), rand.New(rand.NewPCG(seed, seed))
	list := make([]int, n)
	for i := range list {
		list[i] = position(sums, rng.Float64())
	}
	return list
}

// position is where x falls among sums.
func position(sums []float64, x float64) int {
	lo, hi := 0, len(sums)-1
	for lo < hi {
		if mid := (lo + hi) / 2; sums[mid] < x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// mixLua draws by the same law in wrk.
func mixLua() string {
	return fmt.Sprintf(`
local seed = 1
setup = function(thread) thread:set("seed", seed); seed = seed + 1 end
local sums, requests = {}, {}
init = function(args)
  math.randomseed(seed)
  local total = 0
  for i = 1, %[1]d do
    total = total + 1 / i ^ %[2]g
    sums[i] = total
    requests[i] = wrk.format("GET", "/mix/" .. (i - 1))
  end
end
request = function()
  local x, lo, hi = math.random() * sums[%[1]d], 1, %[1]d
  while lo < hi do
    local mid = math.floor((lo + hi) / 2)
    if sums[mid] < x then lo = mid + 1 else hi = mid end
  end
  return requests[lo]
end
`, mixCount, mixExponent)
}

// measureMix asks each server for the mix: first by a sequence which is the
// same for all, of whose second half the hits count, then as fast as it can.
func (b *bench) measureMix(ctx context.Context) error {
	n := 200_000
	if b.quick {
		n = 4_000
	}
	script := filepath.Join(b.dir, "mix.lua")
	if err := os.WriteFile(script, []byte(mixLua()), 0o644); err != nil {
		return err
	}
	all, err := b.startAll(ctx, small)
	defer stopAll(all)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.name == "bare" {
			continue
		}
		if err := b.replay(ctx, s, trace(1, n/2)); err != nil {
			return fmt.Errorf("mix of %s: %w", s.name, err)
		}
		before, err := b.origin.asked(ctx)
		if err != nil {
			return err
		}
		if err := b.replay(ctx, s, trace(2, n/2)); err != nil {
			return fmt.Errorf("mix of %s: %w", s.name, err)
		}
		after, err := b.origin.asked(ctx)
		if err != nil {
			return err
		}
		b.hits[s.name] = 1 - float64(after-before)/float64(n/2)
	}
	for round := range b.runs {
		for i := range all {
			s := all[(i+round)%len(all)]
			if s.name == "bare" {
				continue
			}
			r, err := b.wrk(ctx, s, []string{"-s", script}, "")
			if err != nil {
				return fmt.Errorf("mix of %s: %w", s.name, err)
			}
			b.add("mix", s.name, r)
		}
	}
	return nil
}

// replay asks for a sequence of objects by as many connections as wrk has.
func (b *bench) replay(ctx context.Context, s *server, list []int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: b.connections, DisableCompression: true}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	failures := make(chan error, b.connections)
	var work sync.WaitGroup
	for range b.connections {
		work.Go(func() {
			for {
				at := int(next.Add(1) - 1)
				if at >= len(list) {
					return
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/mix/"+strconv.Itoa(list[at]), nil)
				if err == nil {
					err = fetch(client, req, mixSize(list[at]))
				}
				if err != nil {
					failures <- err
					next.Store(int64(len(list)))
					return
				}
			}
		})
	}
	work.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func fetch(client *http.Client, req *http.Request, size int) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || int(n) != size) {
		err = fmt.Errorf("%s: %s with %d bytes, not %d", req.URL, resp.Status, n, size)
	}
	return err
}
