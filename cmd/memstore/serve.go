package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	var examples bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the objects in the data directory",
		Long: `Serve opens the doors and answers until it is told to end.

With nothing configured it keeps everything below ~/.local/share/memstore,
listens on loopback only, makes a user with a generated password, and prints
commands to paste that try it out; later starts print them with --examples.

SIGTERM and interrupt let running requests finish ("drain"); a second one ends at
once. SIGHUP reads the configuration, the log level and the certificate again.`,
		Example: "  memstore serve\n  memstore serve --data /srv/memstore --gateway :8080",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), l, examples, func() (*Loaded, error) { return load(cmd) }, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	settingFlag(cmd, "gateway", "`address` of the Swift API; empty keeps the door closed")
	settingFlag(cmd, "ftp", "`address` of FTP, with TLS for those who ask for it; empty keeps the door closed")
	settingFlag(cmd, "ftps", "`address` of FTP that begins with TLS; empty keeps the door closed")
	settingFlag(cmd, "sftp", "`address` of SFTP and scp; empty keeps the door closed")
	settingFlag(cmd, "cdn", "`address` of the CDN for browsers; empty keeps the door closed")
	settingFlag(cmd, "cdn-tls", "`address` of the CDN by HTTPS; empty keeps it closed")
	settingFlag(cmd, "admin", "`address` of /metrics, /healthz and /readyz; empty keeps the door closed")
	settingFlag(cmd, "backend", "what keeps the objects: `disk` or memory", "disk", "memory")
	settingFlag(cmd, "log-level", "least `level` to log: debug, info, warn or error", "debug", "info", "warn", "error")
	cmd.Flags().BoolVar(&examples, "examples", false, "print commands to paste, as the first start does")
	return cmd
}

// serve runs a node until ctx ends, and reloads it on SIGHUP.
func serve(ctx context.Context, l *Loaded, examples bool, again func() (*Loaded, error), stdout, stderr io.Writer) error {
	if l.Memory > 0 {
		debug.SetMemoryLimit(int64(l.Memory))
	}
	level := new(slog.LevelVar)
	if err := setLevel(level, l.Log.Level); err != nil {
		return err
	}
	log := newLogger(stderr, l.Log.Format, level)
	for _, name := range l.Unknown {
		log.Warn("variable is not a setting of this version, and ignored", "name", name)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	n, err := start(ctx, l, log)
	if err != nil {
		return err
	}
	w := n.welcome(examples)
	w.Program = programName()
	if err := w.print(stdout); err != nil {
		log.Warn("welcome not printed", "error", err)
	}
	notifySystemd("READY=1")
	log.Info("serving", "version", version(), "data", l.Data, "gateway", n.gatewayURL, "sftp", w.SFTP, "ftp", w.FTP, "ftps", w.FTPS, "cdn", n.cdn.url, "cdn-tls", n.cdn.secureURL, "admin", n.adminURL)
	for {
		select {
		case <-hup:
			if err := reload(n, level, again, log); err != nil {
				log.Error("not reloaded, everything stays as it was", "error", err)
			}
		case err = <-n.failed:
			log.Error("a door failed", "error", err)
			return joinClose(err, n)
		case <-ctx.Done():
			notifySystemd("STOPPING=1")
			log.Info("draining", "at_most", l.Drain.String())
			err := n.close()
			log.Info("ended")
			return err
		}
	}
}

func joinClose(err error, n *node) error {
	if also := n.close(); also != nil {
		return fmt.Errorf("%w (and %w)", err, also)
	}
	return err
}

// reload takes over those settings that can change in a running server, and
// says of the others that they wait for the next start.
func reload(n *node, level *slog.LevelVar, again func() (*Loaded, error), log *slog.Logger) error {
	l, err := again()
	if err != nil {
		return err
	}
	if n.tls != nil && l.Gateway.Certificate != "" {
		if err := n.tls.certificate.load(l.Gateway.Certificate, l.Gateway.Key); err != nil {
			return err
		}
	}
	if n.files.tls != nil {
		if err := n.files.tls.certificate.load(l.ftpCertificate()); err != nil {
			return err
		}
	}
	if err := setLevel(level, l.Log.Level); err != nil {
		return err
	}
	old, live := n.conf.settings(), map[string]bool{"log.level": true, "gateway.certificate": true, "gateway.key": true,
		"ftp.certificate": true, "ftp.key": true}
	for i, s := range l.settings() {
		if !live[s.name] && s.value.Interface() != old[i].value.Interface() {
			log.Warn("setting changed, which needs a restart", "name", s.name)
		}
	}
	log.Info("reloaded", "level", l.Log.Level)
	return nil
}
