package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"memstore.dev/memstore/cdn"
)

// mostLabelled is how many containers have metrics of their own: those that
// were asked for first. The rest are counted together, so that whoever makes
// containers cannot make metrics without end, and no counter ever goes back.
const mostLabelled = 200

// cdnMetrics are those of the ledger, as edges have told them: once a minute.
type cdnMetrics struct{ ledger *cdnLedger }

var _ prometheus.Collector = cdnMetrics{}

var (
	cdnRequests = prometheus.NewDesc("memstore_cdn_requests_total",
		"Requests at an edge, by what they came to.", []string{"edge", "outcome"}, nil)
	cdnStatuses = prometheus.NewDesc("memstore_cdn_answers_total",
		"Answers of an edge, by the class of their status; 0xx are those cut off before it.", []string{"edge", "class"}, nil)
	cdnBytes = prometheus.NewDesc("memstore_cdn_bytes_total",
		"Bytes of bodies at an edge, out to clients and in from the origin.", []string{"edge", "direction"}, nil)
	cdnContainerRequests = prometheus.NewDesc("memstore_cdn_container_requests_total",
		"Requests for a container, by whether the origin had to send a body for them. Containers beyond the first 200 are (others).",
		[]string{"account", "container", "result"}, nil)
	cdnContainerBytes = prometheus.NewDesc("memstore_cdn_container_bytes_total",
		"Bytes of bodies of a container, out to clients and in from the origin, likewise.", []string{"account", "container", "direction"}, nil)
)

// Describe tells what there is.
func (m cdnMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{cdnRequests, cdnStatuses, cdnBytes, cdnContainerRequests, cdnContainerBytes} {
		ch <- d
	}
}

// Collect tells how much of it.
func (m cdnMetrics) Collect(ch chan<- prometheus.Metric) {
	l := m.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	tell := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for edge, c := range l.edges {
		tell(cdnRequests, c.Hits, edge, "hit")
		tell(cdnRequests, c.Stale, edge, "stale")
		tell(cdnRequests, c.Collapsed, edge, "collapsed")
		tell(cdnRequests, c.Revalidated, edge, "revalidated")
		tell(cdnRequests, c.Misses, edge, "miss")
		tell(cdnRequests, c.Refused, edge, "refused")
		for class, n := range c.Status {
			tell(cdnStatuses, n, edge, strconv.Itoa(class)+"xx")
		}
		tell(cdnBytes, c.Bytes, edge, "out")
		tell(cdnBytes, c.OriginBytes, edge, "in")
	}
	container := func(account, name string, c cdn.Counts) {
		tell(cdnContainerRequests, c.Requests-c.Refused-c.Misses, account, name, "hit")
		tell(cdnContainerRequests, c.Misses, account, name, "miss")
		tell(cdnContainerRequests, c.Refused, account, name, "refused")
		tell(cdnContainerBytes, c.Bytes, account, name, "out")
		tell(cdnContainerBytes, c.OriginBytes, account, name, "in")
	}
	var others cdn.Counts
	for i, ref := range l.order {
		if i < mostLabelled {
			container(ref.Account, ref.Container, l.total[ref])
		} else {
			others.Add(l.total[ref])
		}
	}
	if len(l.order) > mostLabelled {
		container("", "(others)", others)
	}
}
