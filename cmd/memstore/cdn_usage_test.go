package main

import (
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/cdn/store"
)

// What edges here and elsewhere have served is in the usage of the day, in the
// metrics, and in the access logs of the owner: once each.
func TestCDNUsage(t *testing.T) {
	n := testCDN(t, nil)
	defer func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	if status, text := as(t, n, "POST", "/v1/AUTH_demo/site", "", "X-Container-Meta-Cdn-Log-Retention: True"); status != 204 {
		t.Fatalf("POST of the container: %d %s", status, text)
	}
	if status, text := as(t, n, "PUT", "/v1/AUTH_demo/site/a.txt", "a page"); status != 201 {
		t.Fatalf("PUT: %d %s", status, text)
	}
	key, err := n.realm.AddEdge(t.Context(), "far")
	if err != nil {
		t.Fatal(err)
	}
	origin, err := url.Parse(n.gatewayURL)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	kept, err := store.Open(store.Options{Memory: 1 << 20, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	logs := &cdn.AccessLog{Dir: t.TempDir(), Logger: quiet}
	if err := logs.Open(); err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	transport := originTransport()
	defer transport.CloseIdleConnections()
	far := openRemote(t.Context(), remoteOptions{Origin: origin, Key: key, Name: "far", Logs: logs, Store: kept, Transport: transport, Log: quiet})
	defer far.Close()
	front := httptest.NewServer(far)
	defer front.Close()

	for _, base := range []string{n.cdn.url, front.URL} {
		for range 3 {
			if status, text := ask(t, "GET", base+"/AUTH_demo/site/a.txt", "", "Referer: http://e.test/?temp_url_sig=c0ffee"); status != 200 || text != "a page" {
				t.Fatalf("GET at %s: %d %q", base, status, text)
			}
		}
	}
	ledger := localLedger{n.cdn.ledger}
	for range 2 { // the second time there is nothing to be told
		if err := n.cdn.edge.Tell(t.Context(), ledger); err != nil {
			t.Fatal(err)
		}
		if err := far.Tell(t.Context(), far.follower); err != nil {
			t.Fatal(err)
		}
	}
	site := cdn.Ref{Account: "AUTH_demo", Container: "site"}
	want := cdn.Counts{Requests: 6, Hits: 4, Misses: 2, Status: [6]uint64{2: 6}, Bytes: 36, OriginBytes: 12, OriginRequests: 2}
	if got := ledger.today(site); got != want {
		t.Errorf("the usage of the day is %+v, want %+v", got, want)
	}
	again, err := openLedger(n.conf.Data, n.store, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.today(site); got != want {
		t.Errorf("after a restart the usage of the day is %+v, want %+v", got, want)
	}
	for run, heard := range n.cdn.ledger.day.Heard {
		r := cdn.Report{Run: run, Seq: heard.Seq, Sites: []cdn.SiteCounts{{Account: "AUTH_demo", Container: "site", Counts: want}}}
		if err := again.Count(t.Context(), r); err != nil || again.today(site) != want {
			t.Errorf("a report that was heard before the restart counts again: %+v, %v", again.today(site), err)
		}
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(cdnMetrics{n.cdn.ledger})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += " " + l.GetValue()
			}
			sums[f.GetName()+labels] = m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"memstore_cdn_requests_total far hit": 2, "memstore_cdn_requests_total (local) hit": 2,
		"memstore_cdn_container_requests_total AUTH_demo site hit": 4, "memstore_cdn_container_bytes_total AUTH_demo site out": 36,
	} {
		if sums[name] != want {
			t.Errorf("%s is %v, want %v", name, sums[name], want)
		}
	}

	// An hour later, twice, as after an answer that was lost.
	later := time.Now().Add(2 * time.Hour)
	for range 2 {
		if err := n.cdn.edge.Logs.Deliver(t.Context(), ledger, later); err != nil {
			t.Fatal(err)
		}
		if err := logs.Deliver(t.Context(), far.follower, later); err != nil {
			t.Fatal(err)
		}
	}
	_, list := as(t, n, "GET", "/v1/AUTH_demo/.CDN_ACCESS_LOGS?prefix=site/", "")
	names := strings.Fields(list)
	if len(names) != 2 {
		t.Fatalf("the logs delivered are %q, want one of each edge", names)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, time.Now().UTC().Format("site/2006/01/")) {
			t.Errorf("a log is called %s", name)
		}
		_, packed := as(t, n, "GET", "/v1/AUTH_demo/.CDN_ACCESS_LOGS/"+name, "")
		z, err := gzip.NewReader(strings.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(text), "\n"); lines != 3 || strings.Contains(string(text), "c0ffee") ||
			!strings.Contains(string(text), `/AUTH_demo/site/a.txt HTTP/1.1" 200 6 "http://e.test/" "`) {
			t.Errorf("%s is %q", name, text)
		}
	}
	if status, _ := ask(t, "POST", n.gatewayURL+"/edge/v1/report", "{}"); status != 401 {
		t.Errorf("a report of a stranger: %d", status)
	}
}

// Metrics do not grow with the containers that there are.
func TestCDNMetricsAreBounded(t *testing.T) {
	l := &cdnLedger{total: map[cdn.Ref]cdn.Counts{}, edges: map[string]cdn.Counts{}}
	for i := range 5000 {
		ref := cdn.Ref{Account: "AUTH_a", Container: strings.Repeat("x", i%50) + string(rune('a'+i%26)) + time.Duration(i).String()}
		l.order, l.total[ref] = append(l.order, ref), cdn.Counts{Requests: 2, Misses: 1}
	}
	ch, count := make(chan prometheus.Metric), 0
	go func() {
		cdnMetrics{l}.Collect(ch)
		close(ch)
	}()
	for range ch {
		count++
	}
	if want := (mostLabelled + 1) * 5; count != want {
		t.Errorf("%d metrics of 5,000 containers, want %d", count, want)
	}
}
