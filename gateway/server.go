package gateway

import (
	"log/slog"
	"net/http"
	"time"
)

// Server returns an http.Server for h with the limits of this door: headers
// within 10 seconds and 32 KiB, an idle connection kept for 60 seconds, an
// answer given up when the client takes nothing for five minutes, and no more
// than 100 streams on a connection of HTTP/2. (How long a body may take to
// arrive is the handler's own matter: Config.BodyIdle.) The caller gives it
// listeners, and TLS.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       60 * time.Second,
		WriteTimeout:      writeIdle, // from the header on; a response moves it ahead
		MaxHeaderBytes:    32 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
	}
	if log != nil {
		s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	}
	return s
}
