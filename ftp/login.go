package ftp

import (
	"cmp"
	"crypto/tls"
	"errors"
	"time"
)

// handshakeTimeout is how long TLS may take to be agreed upon.
const handshakeTimeout = 20 * time.Second

// config is the server's TLS, made fit for FTP. It has to be the same for every
// connection: sessions are resumed only where it is.
func (s *Server) config() *tls.Config {
	s.tlsOnce.Do(func() {
		config := s.TLS.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
		// A browser that somebody leads here asks for HTTP, and gets no session.
		if config.NextProtos == nil {
			config.NextProtos = []string{"ftp"}
		}
		// Whole records from the start: it is files that are sent.
		config.DynamicRecordSizingDisabled = true
		s.tlsConfig = config
	})
	return s.tlsConfig
}

// secure begins to speak TLS on the control connection.
func (c *session) secure() error {
	t, under := newTLS(c.nc, c.srv.config())
	c.nc.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := t.Handshake(); err != nil {
		return err
	}
	under.agreed = true
	c.nc.SetDeadline(time.Time{})
	c.conn = t
	c.secured.Store(true)
	return nil
}

// auth answers AUTH. Nothing that was said in the clear counts afterwards.
func (c *session) auth(cmd command) {
	switch {
	case c.srv.TLS == nil:
		c.reply(502, "TLS is not available")
	case c.secured.Load():
		c.reply(503, "TLS is spoken already")
	case c.lib != nil:
		c.reply(503, "too late: you are logged in")
	case cmd.arg != "TLS" && cmd.arg != "TLS-C" && cmd.arg != "SSL" && cmd.arg != "tls" && cmd.arg != "ssl":
		c.reply(504, "only TLS is known")
	case cmd.ahead:
		// Commands that somebody on the way put in would be carried out as though
		// they had come by TLS.
		c.reply(421, "nothing may follow AUTH before TLS")
		c.cut("commands behind AUTH")
	default:
		c.reply(234, "TLS may begin")
		c.name = ""
		if err := c.secure(); err != nil {
			c.log.Debug("ftp: no TLS", "err", err)
			c.cut("no TLS")
		}
	}
}

// protect answers PROT.
func (c *session) protect(cmd command) {
	switch {
	case !c.secured.Load():
		c.reply(503, "AUTH TLS comes first")
	case cmd.arg == "P" || cmd.arg == "p":
		c.private = true
		c.reply(200, "data connections are private")
	case cmd.arg != "C" && cmd.arg != "c":
		c.reply(536, "only P and C are known")
	case c.srv.RequireTLS == RequireAlways:
		c.reply(534, "data connections must be private")
	default:
		c.private = false
		c.reply(200, "data connections are in the clear")
	}
}

// mayLogIn reports whether a password may be sent over the connection as it is.
func (c *session) mayLogIn() bool {
	switch {
	case c.secured.Load():
		return true
	case c.srv.RequireTLS == RequireAlways:
		return false
	case c.srv.RequireTLS == RequireNever:
		return true
	}
	return !c.throughProxy && addrOf(c.remote).IsLoopback()
}

var errClear = &refusal{530, "passwords are taken over TLS only: AUTH TLS comes first"}

func (c *session) userName(cmd command) {
	switch {
	case c.lib != nil:
		c.reply(503, "you are logged in")
	case !c.mayLogIn():
		c.refuse(errClear)
	default:
		c.name = cmd.arg
		c.reply(331, "and the password?")
	}
}

func (c *session) password(cmd command) {
	switch {
	case c.lib != nil:
		c.reply(503, "you are logged in")
		return
	case !c.mayLogIn():
		c.refuse(errClear)
		return
	case c.name == "":
		c.reply(503, "USER comes first")
		return
	}
	a := Attempt{ID: c.id, User: c.name, Remote: c.remote, Local: c.nc.LocalAddr(), Client: c.client, TLS: c.secured.Load()}
	c.name = ""
	err := c.enter(a, cmd.arg)
	full := errors.Is(err, errFull) || errors.Is(err, errFullAddress) || errors.Is(err, errFullUser)
	if f := c.srv.Hooks.Login; f != nil {
		f(a, err)
	}
	if err != nil {
		c.log.Warn("ftp: login", "user", a.User, "client", a.Client, "tls", a.TLS, "outcome", "refused", "err", err)
	}
	switch {
	case err == nil:
		c.log = c.log.With("user", c.user)
		c.log.Info("ftp: login", "client", a.Client, "tls", a.TLS, "outcome", "ok")
		c.reply(230, "welcome")
	case full:
		c.cut(err.Error())
	default:
		c.reply(530, "login refused")
		if c.failures++; c.failures >= limit(c.srv.MaxAuthTries, 3) {
			c.cut("too many failed logins")
		}
	}
}

// enter judges an attempt, and opens what it brings.
func (c *session) enter(a Attempt, password string) (err error) {
	c.srv.gate.judge(c, true)
	defer c.srv.gate.judge(c, false)
	login, err := c.judgeLogin(a, password)
	if err != nil {
		return err
	}
	if login.Fs == nil {
		return errors.New("login without a filesystem")
	}
	user := cmp.Or(login.User, a.User)
	s := c.srv
	if err := s.gate.admit(c, user, limit(s.MaxConns, 10_000), limit(s.MaxConnsPerAddress, 256), limit(s.MaxConnsPerUser, 256)); err != nil {
		return err
	}
	c.mu.Lock()
	c.login, c.user, c.in = login, user, true
	c.mu.Unlock()
	lib, err := newLibrary(c)
	if err != nil {
		c.cut("internal error")
		return err
	}
	c.lib = lib
	for _, line := range []string{"", "USER -", "PASS -"} {
		r, err := lib.ask(line)
		if err == nil && r.code >= 400 {
			err = errors.New("the library does not let its session in")
		}
		if err != nil {
			c.cut("internal error")
			return err
		}
	}
	return nil
}

func (c *session) judgeLogin(a Attempt, password string) (login Login, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
			login, err = Login{}, errors.New("login failed")
		}
	}()
	return c.srv.Password(c.ctx, a, password)
}
