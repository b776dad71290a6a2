package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/internal/door"
)

// grace is how long a session that was cut waits for the filesystem before it
// ends the context that the filesystem lives by.
const grace = 5 * time.Second

// A session is one connection, from its first byte to its last.
type session struct {
	*door.Visit
	srv    *Server
	config *ssh.ServerConfig // what its own starts from

	// The context lives as long as the session and everything it has open:
	// it is what a login's filesystem may live by.
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex // guards what follows
	busy   int        // files open and commands running
	closed bool
	why    string        // why it was cut
	gone   chan struct{} // closed when it is cut

	// Set once logged in, before anything reads them.
	conn  *ssh.ServerConn
	login Login

	channels atomic.Int32
	working  atomic.Int32 // computations of ours under way, while which no data need move
	moved    atomic.Int64 // when data last moved, in nanoseconds since Began
	heard    atomic.Int64 // when the client last gave a sign of life, likewise
}

// config is what every connection's own configuration starts from.
func (s *Server) config() *ssh.ServerConfig {
	config := &ssh.ServerConfig{
		Config:                  algorithms(s.Compatible),
		PublicKeyAuthAlgorithms: keyAlgorithms,
		MaxAuthTries:            door.Limit(s.MaxAuthTries, 6),
		ServerVersion:           serverVersion,
	}
	if s.Banner != "" {
		config.BannerCallback = func(ssh.ConnMetadata) string { return s.Banner }
	}
	for _, k := range hostKeys(s.HostKeys, s.Compatible) {
		config.AddHostKey(k)
	}
	return config
}

// Serve is the whole life of the session.
func (c *session) Serve() {
	defer c.Cut("connection closed")
	defer c.rescue("serve")
	c.ctx, c.cancel = context.WithCancel(context.Background())
	defer c.cancel()
	if c.Arrive() != nil {
		return
	}
	defer c.Leave()
	deadline := c.Began.Add(door.Span(c.srv.HandshakeTimeout, 20*time.Second))
	c.Conn.SetDeadline(deadline)
	conn, chans, reqs, err := c.shake(deadline)
	if err != nil {
		c.Log.Debug("sftp: no login", "err", err, "cut", c.reason())
		return
	}
	c.Conn.SetDeadline(time.Time{})
	if !c.enter(conn) {
		conn.Close()
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { ssh.DiscardRequests(reqs) })
	wg.Go(c.watch)
	wg.Go(c.keepAlive)
	for nch := range chans {
		c.take(nch, &wg)
	}
	c.Cut("connection closed")
	// What is under way in the filesystem may finish; what hangs in it is told
	// to give up.
	last := time.AfterFunc(grace, c.cancel)
	wg.Wait()
	last.Stop()
	c.Log.Info("sftp: session ended", "seconds", time.Since(c.Began).Seconds(), "reason", c.reason())
}

// shake is the handshake, until the client is logged in.
func (c *session) shake(deadline time.Time) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	nc, config, err := greet(c.Conn, c.config, deadline)
	if err != nil {
		return nil, nil, nil, err
	}
	return ssh.NewServerConn(nc, c.asks(config))
}

// A permit is what a callback leaves in ssh.Permissions for a login. It is
// taken from the Permissions of the finished handshake and from nowhere else:
// callbacks also run for keys that the client turns out not to hold.
type permit struct {
	login Login
	user  string
}

type permitKey struct{}

// asks returns the configuration with the callbacks that judge this client.
func (c *session) asks(config *ssh.ServerConfig) *ssh.ServerConfig {
	own := *config
	own.PreAuthConnCallback = func(ssh.ServerPreAuthConn) { c.Reach(door.Asking) }
	if judge := c.srv.Password; judge != nil {
		own.PasswordCallback = func(m ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return c.judge(m, "password", true, func(a Attempt) (Login, error) {
				return judge(c.ctx, a, string(password))
			})
		}
	}
	if judge := c.srv.Key; judge != nil {
		ask := func(m ssh.ConnMetadata, key ssh.PublicKey, proven bool) (*ssh.Permissions, error) {
			if err := acceptable(key); err != nil {
				return nil, err
			}
			return c.judge(m, "publickey", proven, func(a Attempt) (Login, error) {
				return judge(c.ctx, a, key)
			})
		}
		own.PublicKeyCallback = func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			return ask(m, key, false)
		}
		own.VerifiedPublicKeyCallback = func(m ssh.ConnMetadata, key ssh.PublicKey, _ *ssh.Permissions, _ string) (*ssh.Permissions, error) {
			return ask(m, key, true)
		}
	}
	return &own
}

// judge asks f about one attempt to log in. Only one that is proven can end in
// Permissions that let somebody in.
func (c *session) judge(m ssh.ConnMetadata, method string, proven bool, f func(Attempt) (Login, error)) (perms *ssh.Permissions, err error) {
	a := Attempt{ID: c.ID, User: m.User(), Remote: c.Remote, Local: m.LocalAddr(), Client: printable(string(m.ClientVersion())), Proven: proven}
	c.Reach(door.Judging)
	defer c.Reach(door.Asking)
	defer func() {
		if p := recover(); p != nil {
			c.panicked("login", p)
			perms, err = nil, errors.New("login failed")
		}
	}()
	login, err := f(a)
	if !proven {
		return nil, err
	}
	if err == nil && login.Fs == nil {
		err = errors.New("login without a filesystem")
	}
	user := login.User
	if user == "" {
		user = a.User
	}
	var refusal error
	if err == nil {
		if err = c.Admit(user); err != nil {
			refusal = &ssh.BannerError{Err: err, Message: err.Error() + "\r\n"}
		}
	}
	if f := c.srv.Hooks.Login; f != nil {
		f(a, method, err)
	}
	if err != nil {
		c.Log.Warn("sftp: login", "user", a.User, "method", method, "client", a.Client, "outcome", "refused", "err", err)
		return nil, errors.Join(refusal, errors.New("login refused"))
	}
	c.Log.Info("sftp: login", "user", user, "method", method, "client", a.Client, "outcome", "ok")
	return &ssh.Permissions{ExtraData: map[any]any{permitKey{}: permit{login, user}}}, nil
}

// enter takes over what the login brought; false if it brought nothing, or the
// session was cut meanwhile.
func (c *session) enter(conn *ssh.ServerConn) bool {
	if conn.Permissions == nil {
		return false
	}
	p, ok := conn.Permissions.ExtraData[permitKey{}].(permit)
	if !ok {
		return false
	}
	c.conn, c.login = conn, p.login
	c.Log = c.Log.With("user", p.user)
	c.Enter(p.user, printable(string(conn.ClientVersion())))
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed
}

// take lets a channel in, or turns it away.
func (c *session) take(nch ssh.NewChannel, wg *sync.WaitGroup) {
	switch {
	case nch.ChannelType() != "session":
		c.Log.Debug("sftp: channel refused", "type", printable(nch.ChannelType()))
		nch.Reject(ssh.Prohibited, "only files are served here")
		return
	case int(c.channels.Load()) >= door.Limit(c.srv.MaxChannels, 8):
		nch.Reject(ssh.ResourceShortage, "too many channels")
		return
	}
	ch, reqs, err := nch.Accept()
	if err != nil {
		return
	}
	c.channels.Add(1)
	wg.Go(func() {
		defer c.channels.Add(-1)
		c.serveChannel(ch, reqs)
	})
}

// serveChannel answers the requests of one channel. The first that asks for the
// subsystem or a command is granted, and every other request refused.
func (c *session) serveChannel(ch ssh.Channel, reqs <-chan *ssh.Request) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ch.Close()
	started := false
	for req := range reqs {
		var run func(ssh.Channel) int
		if !started {
			run = c.program(req)
		}
		req.Reply(run != nil, nil)
		if run == nil {
			continue
		}
		started = true
		wg.Go(func() {
			if req.Type == "exec" { // while what SFTP has open is counted by the file
				c.acquire()
				defer c.replied()
				defer c.release()
			}
			code := c.run(ch, run)
			// OpenSSH's scp takes a channel that closes without an exit status for
			// a failure, whatever was transferred.
			ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(code)}))
			ch.CloseWrite()
			ch.Close()
		})
	}
}

// program is what a request asks to start, or nil.
func (c *session) program(req *ssh.Request) func(ssh.Channel) int {
	var arg struct{ Text string }
	if req.Type != "subsystem" && req.Type != "exec" || ssh.Unmarshal(req.Payload, &arg) != nil {
		return nil
	}
	if req.Type == "exec" {
		return func(ch ssh.Channel) int { return c.exec(ch, arg.Text) }
	}
	if arg.Text != "sftp" {
		return nil
	}
	return c.serveSFTP
}

func (c *session) run(ch ssh.Channel, program func(ssh.Channel) int) (code int) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked("channel", p)
			code = 255
		}
	}()
	return program(ch)
}

// serveSFTP is the sftp subsystem.
func (c *session) serveSFTP(ch ssh.Channel) int { return c.speakSFTP(ch) }

func (c *session) speakSFTP(ch io.ReadWriter) int {
	h := &handler{session: c, fs: c.login.Fs, files: make(map[*file]struct{}), handles: make(map[string]*file)}
	f := newFilter(ch, h)
	rs := pkgsftp.NewRequestServer(f,
		pkgsftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h},
		pkgsftp.WithRSAllocator(), pkgsftp.WithRSMaxTxPacket(maxData))
	err := rs.Serve()
	f.end()
	if err != nil && err != io.EOF {
		c.Log.Debug("sftp: protocol ended", "err", err)
		return 1
	}
	return 0
}

// watch cuts the session when its login ends, when nothing moves any more or
// when the client is gone without a word.
func (c *session) watch() {
	idle, patience := door.Span(c.srv.IdleTimeout, 15*time.Minute), 3*door.Span(c.srv.KeepAlive, 30*time.Second)
	t := time.NewTicker(min(idle, patience)/8 + 1)
	defer t.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-c.login.Done:
			c.Cut("login ended")
			return
		case <-t.C:
		}
		now := time.Since(c.Began)
		moved, heard := time.Duration(c.moved.Load()), time.Duration(c.heard.Load())
		switch {
		case now-max(moved, heard) > patience+patience/8:
			c.Cut("client does not answer")
		case now-moved > idle && c.working.Load() == 0:
			c.Cut("idle")
		}
	}
}

// keepAlive asks a silent client whether it is still there.
func (c *session) keepAlive() {
	every := door.Span(c.srv.KeepAlive, 30*time.Second)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-t.C:
		}
		if time.Since(c.Began)-time.Duration(c.moved.Load()) < every {
			continue
		}
		if _, _, err := c.conn.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			return
		}
		c.heard.Store(int64(time.Since(c.Began)))
	}
}

// touch records that data moved.
func (c *session) touch() { c.moved.Store(int64(time.Since(c.Began))) }

// acquire counts a file that is opened or a command that starts, and release
// its end.
func (c *session) acquire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy++
}

func (c *session) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
}

// replied is called when an answer has been sent: on a server that is shutting
// down that is the moment to go, if nothing is open any more.
func (c *session) replied() {
	if c.srv.keeper.Closing() {
		c.LeaveWhenQuiet()
	}
}

// LeaveWhenQuiet ends the session if nothing is open; replied asks again.
func (c *session) LeaveWhenQuiet() {
	c.mu.Lock()
	quiet := c.busy == 0
	c.mu.Unlock()
	if quiet {
		c.Cut("server is shutting down")
	}
}

// Cut ends the session now. Only the first reason counts.
func (c *session) Cut(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed, c.why = true, why
	close(c.gone)
	c.HangUp()
}

func (c *session) reason() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// rescue keeps a panic of this session from ending all others.
func (c *session) rescue(where string) {
	if p := recover(); p != nil {
		c.panicked(where, p)
	}
}

func (c *session) panicked(where string, p any) {
	c.srv.log().Error("sftp: panic", "txid", c.ID, "where", where, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}
