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
}

var _ gateway.Metrics = (*requestMetrics)(nil)

func newRequestMetrics(reg prometheus.Registerer) *requestMetrics {
	m := &requestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memstore_requests_total",
			Help: "Requests that are over.",
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
	}
	reg.MustRegister(m.requests, m.bytes, m.seconds)
	return m
}

// Request is told of every request.
func (m *requestMetrics) Request(door, method string, status int, in, out int64, took time.Duration) {
	m.requests.WithLabelValues(door, method, strconv.Itoa(status)).Inc()
	m.bytes.WithLabelValues(door, "in").Add(float64(max(in, 0)))
	m.bytes.WithLabelValues(door, "out").Add(float64(max(out, 0)))
	m.seconds.WithLabelValues(door, method).Observe(took.Seconds())
}
