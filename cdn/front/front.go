// Package front is how browsers reach a handler: HTTP/1.1 and HTTP/2 over TCP,
// HTTP/3 over UDP, TLS with certificates that change while it runs, and limits
// that hold whoever asks. It does not know what is behind it.
//
//	s := &front.Server{Handler: h, Certificate: files.Certificate}
//	go s.Serve(plain)
//	go s.ServeTLS(secure)
//	go s.ServeQUIC(udp)
//	…
//	s.Shutdown(ctx)
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A Server serves browsers. Its fields must not change once it serves; of those
// that are limits the zero value is a sensible one.
type Server struct {
	// Handler answers. Required.
	Handler http.Handler

	// Certificate is what TLS proves itself with. Without it there is no TLS.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Protocols are names that TLS offers besides those of HTTP, for who proves
	// by them that a domain is his (Demand.Protocols).
	Protocols []string

	// Domain is the one whose names, one label each, share a certificate. What a
	// browser asks for on a connection that it made for another name is 421 else:
	// it must make one of its own.
	Domain string

	// Limits bound what clients may take.
	Limits Limits

	// Exempt are the networks, of proxies say, that limits of one source do not
	// hold for. They never hold for the machine itself.
	Exempt []netip.Prefix

	// Log takes what an operator should know; nil is slog.Default.
	Log *slog.Logger

	once    sync.Once
	http    *http.Server
	crowd   crowd
	altSvc  atomic.Pointer[[]string] // what tells browsers of HTTP/3
	mu      sync.Mutex               // guards what follows
	quics   []*quicDoor
	closing bool
}

// Limits bound what clients may take. A source is an address; of IPv6 a /64.
type Limits struct {
	// Connections at once of one source, by TCP and by QUIC; those beyond are
	// closed at once. 0 is no limit.
	Connections int

	// Requests per second of one source, over a while: four times as many may
	// come at once. Those beyond are answered 429. 0 is no limit.
	Requests int

	// Slowest is the fewest bytes per second that a client may take an answer
	// with, over the while that Patience is. 0 is 1 KiB.
	Slowest int

	// Patience is how long a client need take nothing at all. 0 is 30 s.
	Patience time.Duration

	// Header is how long the header of a request may take to come. 0 is 5 s.
	Header time.Duration

	// Body is how long a whole request may take to come. 0 is no limit.
	Body time.Duration

	// Idle is how long a connection may have no request. 0 is a minute.
	Idle time.Duration

	// Streams is how many requests at once one connection may have. 0 is 128.
	Streams int
}

// headerBytes is how large the header of a request may be.
const headerBytes = 16 << 10

func (s *Server) init() {
	s.once.Do(func() {
		if s.Log == nil {
			s.Log = slog.Default()
		}
		l := &s.Limits
		if l.Slowest <= 0 {
			l.Slowest = 1 << 10
		}
		if l.Patience <= 0 {
			l.Patience = 30 * time.Second
		}
		if l.Header <= 0 {
			l.Header = 5 * time.Second
		}
		if l.Idle <= 0 {
			l.Idle = time.Minute
		}
		if l.Streams <= 0 {
			l.Streams = 128
		}
		s.crowd.limits, s.crowd.exempt = l, s.Exempt
		s.http = &http.Server{
			Handler:           gate{s},
			ReadHeaderTimeout: l.Header,
			ReadTimeout:       l.Body,
			WriteTimeout:      l.Patience, // until the first bytes; then pace sees to it
			IdleTimeout:       l.Idle,
			MaxHeaderBytes:    headerBytes - 4096, // to which net/http adds that much
			HTTP2: &http.HTTP2Config{
				MaxConcurrentStreams: l.Streams,
				SendPingTimeout:      30 * time.Second,
				PingTimeout:          15 * time.Second,
				WriteByteTimeout:     l.Patience,
			},
			ConnContext: withSource,
			ErrorLog:    slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // what strangers make of TLS fills logs
		}
		if s.Certificate != nil {
			s.http.TLSConfig = s.tlsConfig("h2", "http/1.1")
		}
	})
}

// tlsConfig is TLS as all doors of Memstore speak it: 1.2 with AEAD ciphers, or
// 1.3.
func (s *Server) tlsConfig(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     append(protocols, s.Protocols...),
		GetCertificate: s.Certificate,
	}
}

// Serve answers plain HTTP on a listener until Shutdown, when it returns
// http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	s.init()
	return s.http.Serve(&listener{l, &s.crowd})
}

// ServeTLS answers HTTPS on a listener until Shutdown, when it returns
// http.ErrServerClosed.
func (s *Server) ServeTLS(l net.Listener) error {
	s.init()
	if s.Certificate == nil {
		return errors.New("front: TLS without a certificate")
	}
	return s.http.ServeTLS(&listener{l, &s.crowd}, "", "")
}

// A quicDoor is one address at which HTTP/3 is spoken.
type quicDoor struct {
	transport *quic.Transport
	server    *http3.Server
}

// ServeQUIC answers HTTP/3 on a packet connection, which is the server's to
// close, until Shutdown, when it returns http.ErrServerClosed. Browsers that
// come by TLS over TCP are told of it.
func (s *Server) ServeQUIC(conn net.PacketConn) error {
	s.init()
	if s.Certificate == nil {
		return errors.New("front: TLS without a certificate")
	}
	d := &quicDoor{
		// Who has not shown that he is where he says is asked to: what is sent to
		// him is not sent to somebody else.
		transport: &quic.Transport{Conn: conn, VerifySourceAddress: func(net.Addr) bool { return s.crowd.busy() }},
		server: &http3.Server{
			Handler: gate{s}, MaxHeaderBytes: headerBytes, IdleTimeout: s.Limits.Idle,
			ConnContext: func(ctx context.Context, c *quic.Conn) context.Context {
				if src, ok := c.Context().Value(sourceKey{}).(*source); ok {
					return context.WithValue(ctx, sourceKey{}, src)
				}
				return ctx
			},
			Logger: slog.New(slog.DiscardHandler),
		},
	}
	d.transport.ConnContext = func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
		src := s.crowd.enter(info.RemoteAddr)
		if src == nil {
			return nil, errCrowded
		}
		context.AfterFunc(ctx, func() { s.crowd.leave(src) })
		return context.WithValue(ctx, sourceKey{}, src), nil
	}
	l, err := d.transport.ListenEarly(http3.ConfigureTLSConfig(s.tlsConfig()), &quic.Config{
		HandshakeIdleTimeout: s.Limits.Header,
		MaxIdleTimeout:       s.Limits.Patience,
		MaxIncomingStreams:   int64(s.Limits.Streams),
	})
	if err != nil {
		conn.Close()
		return err
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		l.Close()
		d.close()
		return http.ErrServerClosed
	}
	s.quics = append(s.quics, d)
	s.mu.Unlock()
	if udp, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		s.altSvc.Store(&[]string{`h3=":` + strconv.Itoa(udp.Port) + `"; ma=86400`})
	}
	err = d.server.ServeListener(l)
	s.altSvc.Store(nil)
	if errors.Is(err, quic.ErrServerClosed) {
		err = http.ErrServerClosed
	}
	return err
}

// close frees what is below the server, the packet connection too.
func (d *quicDoor) close() {
	d.transport.Close()
	d.transport.Conn.Close()
}

// Shutdown ends the doors, and waits for the answers that are under way no longer
// than ctx lives. What is left then is cut off, and an error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.mu.Lock()
	s.closing = true
	doors := s.quics
	s.quics = nil
	s.mu.Unlock()
	var work sync.WaitGroup
	errs := make([]error, len(doors)+1)
	for i, d := range doors {
		work.Go(func() {
			errs[i] = d.server.Shutdown(ctx)
			d.server.Close()
			d.close()
		})
	}
	work.Go(func() {
		if errs[len(doors)] = s.http.Shutdown(ctx); errs[len(doors)] != nil {
			s.http.Close()
		}
	})
	work.Wait()
	return errors.Join(errs...)
}

// Close ends the doors at once.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
