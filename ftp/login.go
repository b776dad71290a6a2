package ftp

import (
	"cmp"
	"crypto/tls"
	"errors"
	"time"

	"memstore.dev/memstore/internal/door"
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
	t, under := newTLS(c.Conn, c.srv.config())
	c.Conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := t.Handshake(); err != nil {
		return err
	}
	under.agreed = true
	c.Conn.SetDeadline(time.Time{})
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
		c.Cut("commands behind AUTH")
	default:
		c.reply(234, "TLS may begin")
		c.name = ""
		if err := c.secure(); err != nil {
			c.Log.Debug("ftp: no TLS", "err", err)
			c.Cut("no TLS")
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
	return !c.Proxied && door.AddrOf(c.Remote).IsLoopback()
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
	a := Attempt{ID: c.ID, User: c.name, Remote: c.Remote, Local: c.Conn.LocalAddr(), Client: c.client, TLS: c.secured.Load()}
	c.name = ""
	err := c.enter(a, cmd.arg)
	full := errors.Is(err, door.ErrFull)
	if f := c.srv.Hooks.Login; f != nil {
		f(a, err)
	}
	if err != nil {
		c.Log.Warn("ftp: login", "user", a.User, "client", a.Client, "tls", a.TLS, "outcome", "refused", "err", err)
	}
	switch {
	case err == nil:
		c.Log = c.Log.With("user", c.user)
		c.Log.Info("ftp: login", "client", a.Client, "tls", a.TLS, "outcome", "ok")
		c.reply(230, "welcome")
	case full:
		c.Cut(err.Error())
	default:
		c.reply(530, "login refused")
		if c.failures++; c.failures >= door.Limit(c.srv.MaxAuthTries, 3) {
			c.Cut("too many failed logins")
		}
	}
}

// enter judges an attempt, and opens what it brings.
func (c *session) enter(a Attempt, password string) (err error) {
	c.Reach(door.Judging)
	defer c.Reach(door.Asking)
	login, err := c.judgeLogin(a, password)
	if err != nil {
		return err
	}
	if login.Fs == nil {
		return errors.New("login without a filesystem")
	}
	user := cmp.Or(login.User, a.User)
	if err := c.Admit(user); err != nil {
		return err
	}
	c.login, c.user = login, user
	c.Enter(user, c.client)
	lib, err := newLibrary(c)
	if err != nil {
		c.Cut("internal error")
		return err
	}
	c.lib = lib
	for _, line := range []string{"", "USER -", "PASS -"} {
		r, err := lib.ask(line)
		if err == nil && r.code >= 400 {
			err = errors.New("the library does not let its session in")
		}
		if err != nil {
			c.Cut("internal error")
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
