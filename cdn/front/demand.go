package front

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// DemandOptions say from whom certificates are demanded, and for what.
type DemandOptions struct {
	// Directory is the URL of the authority's ACME directory, and Email what it
	// may write to; "" is none.
	Directory string
	Email     string

	// Roots is a file of certificates, in PEM, by which the authority itself is
	// known; "" is those of the system.
	Roots string

	// Dir keeps certificates, their keys and the account, for their owner only.
	Dir string

	// Allow judges whether a name, in lower case, may have a certificate: nil is
	// yes. It is asked in the middle of handshakes, whatever strangers ask for, so
	// it must be quick to say no. Required.
	Allow func(ctx context.Context, name string) error

	// Fallback is the certificate for who names no host, or one that may not have
	// a certificate. Nil ends the handshake.
	Fallback func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Secure is where TLS is spoken; Plain is where HTTP is, or nil. The authority
	// comes to their ports 443 and 80, so something must lead from there to here.
	Secure, Plain net.Addr

	Log *slog.Logger
}

// A Demand gets certificates when a browser first comes for a name, and renews
// them while they are used.
type Demand struct {
	options DemandOptions
	cache   *certmagic.Cache
	config  *certmagic.Config
	issuer  *certmagic.ACMEIssuer
}

// demandPatience is how long a handshake may take in which a certificate has to
// be got first.
const demandPatience = time.Minute

// NewDemand prepares to get certificates. Nobody is asked before the first name.
func NewDemand(o DemandOptions) (*Demand, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	d := &Demand{options: o}
	logger := zap.New(zapCore{o.Log})
	d.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return d.config, nil },
		Logger:           logger,
	})
	d.config = certmagic.New(d.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: o.Dir},
		Logger:  logger,
		OnEvent: d.event,
		OnDemand: &certmagic.OnDemandConfig{
			DecisionFunc: func(ctx context.Context, name string) error {
				if err := o.Allow(ctx, strings.ToLower(name)); err != nil {
					return err
				}
				// The first to come waits for the authority, which takes longer than a
				// handshake may. net/http sets the deadlines anew behind it.
				if hello, ok := ctx.Value(certmagic.ClientHelloInfoCtxKey).(*tls.ClientHelloInfo); ok && hello.Conn != nil {
					hello.Conn.SetDeadline(time.Now().Add(demandPatience))
				}
				return nil
			},
		},
	})
	template := certmagic.ACMEIssuer{
		CA: o.Directory, TestCA: o.Directory, Email: o.Email, Agreed: true, Logger: logger,
		DisableHTTPChallenge: o.Plain == nil,
	}
	if o.Roots != "" {
		text, err := os.ReadFile(o.Roots)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		template.TrustedRoots = x509.NewCertPool()
		if !template.TrustedRoots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("certificates: %s holds none in PEM", o.Roots)
		}
	}
	// The library answers challenges through Certificate and Handler, and would
	// open the ports itself if they were free: so it must know that they are not.
	template.AltTLSALPNPort, template.ListenHost = port(o.Secure), host(o.Secure)
	if o.Plain != nil {
		template.AltHTTPPort = port(o.Plain)
	}
	d.issuer = certmagic.NewACMEIssuer(d.config, template)
	d.config.Issuers = []certmagic.Issuer{d.issuer}
	return d, nil
}

// Close ends the renewal of certificates.
func (d *Demand) Close() error {
	d.cache.Stop()
	return nil
}

// Protocols are the names that TLS must offer, by which the authority asks
// whether a name leads here.
func (d *Demand) Protocols() []string { return []string{"acme-tls/1"} }

// Handler answers the authority's questions over plain HTTP, and leaves all else
// to h.
func (d *Demand) Handler(h http.Handler) http.Handler { return d.issuer.HTTPChallengeHandler(h) }

// Certificate is that of the name that a client asks for, got now if need be.
func (d *Demand) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if !strings.Contains(name, ".") || net.ParseIP(name) != nil {
		return d.fallback(hello, errors.New("front: no host was asked for"))
	}
	// Who has gone must not keep others from the certificate that he asked for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hello.Context()), demandPatience)
	defer cancel()
	cert, err := d.config.GetCertificateWithContext(ctx, hello)
	if err != nil {
		return d.fallback(hello, err)
	}
	return cert, nil
}

func (d *Demand) fallback(hello *tls.ClientHelloInfo, err error) (*tls.Certificate, error) {
	if d.options.Fallback == nil {
		return nil, err
	}
	return d.options.Fallback(hello)
}

// event tells the operator of certificates.
func (d *Demand) event(_ context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_obtained":
		d.options.Log.Info("certificate got", "name", data["identifier"], "renewal", data["renewal"])
	case "cert_failed":
		d.options.Log.Warn("certificate not got", "name", data["identifier"], "renewal", data["renewal"], "error", data["error"])
	}
	return nil
}

func port(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

func host(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
		return tcp.IP.String()
	}
	return ""
}

// A zapCore hands what the library logs to an slog.Logger. What it calls an error
// mostly is some stranger's doing; what matters is told by event.
type zapCore struct{ log *slog.Logger }

var _ zapcore.Core = zapCore{}

func (c zapCore) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
}

func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{c.log.With(attributes(fields)...)}
}

func (c zapCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Debug(e.Message, append(attributes(fields), "from", e.LoggerName, "level", e.Level.String())...)
	return nil
}

func (c zapCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) (list []any) {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(encoder)
	}
	for name, value := range encoder.Fields {
		list = append(list, slog.Any(name, value))
	}
	return list
}
