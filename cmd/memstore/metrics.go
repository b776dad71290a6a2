package main

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"memstore.dev/memstore/gateway"
)

// requestMetrics counts requests; its labels are the same for all doors.
type requestMetrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	// Of the file doors only: in HTTP there is neither a login nor a session.
	logins      *prometheus.CounterVec
	connections *prometheus.GaugeVec
}

var _ gateway.Metrics = (*requestMetrics)(nil)

func newRequestMetrics(reg prometheus.Registerer) *requestMetrics {
	m := &requestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memstore_requests_total",
			Help: "Requests that are over; of the file doors transfers and changes, whose status is ok or failed.",
		}, []string{"door", "method", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memstore_bytes_total",
			Help: "Bytes of bodies, in from clients and out to them.",
		}, []string{"door", "direction"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "memstore_request_seconds",
			Help:    "How long requests took, from their header to the last byte of the answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"door", "method"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memstore_logins_total",
			Help: "Attempts to log in at the file doors.",
		}, []string{"door", "status"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "memstore_connections",
			Help: "Connections at the file doors, logged in or about to.",
		}, []string{"door"}),
	}
	reg.MustRegister(m.requests, m.bytes, m.seconds, m.logins, m.connections)
	return m
}

// Request is told of every request.
func (m *requestMetrics) Request(door, method string, status int, in, out int64, took time.Duration) {
	m.count(door, method, strconv.Itoa(status), in, out, took)
}

func (m *requestMetrics) count(door, method, status string, in, out int64, took time.Duration) {
	m.requests.WithLabelValues(door, method, status).Inc()
	m.bytes.WithLabelValues(door, "in").Add(float64(max(in, 0)))
	m.bytes.WithLabelValues(door, "out").Add(float64(max(out, 0)))
	m.seconds.WithLabelValues(door, method).Observe(took.Seconds())
}

// operation is told of everything that was done to a file at a file door.
func (m *requestMetrics) operation(door, verb string, bytes int64, took time.Duration, err error) {
	var in, out int64
	switch verb {
	case "get":
		out = bytes
	case "put", "append", "update":
		in = bytes
	}
	m.count(door, verb, outcome(err), in, out, took)
}

// login is told of every attempt to log in at a file door.
func (m *requestMetrics) login(door string, err error) {
	m.logins.WithLabelValues(door, outcome(err)).Inc()
}

// outcome is err as the logs have it in a word.
func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}
