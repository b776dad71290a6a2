package ftp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"memstore.dev/memstore/internal/door"
)

// grace is how long a session that was cut waits for the filesystem before it
// ends the context that the filesystem lives by.
const grace = 5 * time.Second

// farewell is how long a client that is cut has to read why.
const farewell = time.Second

// A session is one connection, from its first byte to its last. One goroutine
// reads what the client says, and one, serve's, acts on it; that one owns
// whatever is not said to belong to others.
type session struct {
	*door.Visit
	srv *Server

	// The context lives as long as the session and everything it has open:
	// it is what a login's filesystem may live by.
	ctx    context.Context
	cancel context.CancelFunc

	commands chan command  // from the client; closed behind the last
	resume   chan net.Conn // what reading goes on from after AUTH
	gone     chan struct{} // closed when the session is cut
	hungUp   chan struct{} // closed when reading has ended
	quitting atomic.Bool   // QUIT was read
	quiet    chan struct{} // has an element when it shall end once nothing is under way

	mu     sync.Mutex // guards what follows
	closed bool
	why    string        // why it was cut
	data   *dataListener // the latest
	fault  error         // what the filesystem said of the command under way

	conn        net.Conn    // Conn, or TLS over it
	secured     atomic.Bool // TLS on the control connection
	private     bool        // TLS on data connections
	extended    bool        // EPSV ALL was said
	dataTimeout time.Duration

	name      string // as USER gave it
	user      string
	client    string
	login     Login
	said      int // commands before the login
	failures  int
	lib       *library
	task      *task
	held      []command
	armed     bool // PASV or EPSV was said, and no transfer since
	facts     facts
	hashing   int   // which of algorithms
	announced int64 // by ALLO; -1 if nothing was

	publicAddr netip.Addr     // for the library, while it answers PASV
	list       *listing       // for the library, while it lists
	fresh      bool           // for the library, while it answers STOU
	open       sync.WaitGroup // one for each file that the library has open
	jobs       sync.WaitGroup // one for each job
}

func newSession(s *Server, v *door.Visit) *session {
	c := &session{
		Visit: v, srv: s,
		commands: make(chan command, maxHeld), resume: make(chan net.Conn),
		gone: make(chan struct{}), hungUp: make(chan struct{}), quiet: make(chan struct{}, 1),
		dataTimeout: door.Span(s.DataTimeout, time.Minute), announced: -1, facts: allFacts,
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Serve is the whole life of the session.
func (c *session) Serve() {
	defer c.cancel()
	defer c.HangUp()
	defer c.Cut("connection closed")
	defer c.rescue()
	err := c.Arrive()
	c.conn = c.Conn
	if err != nil {
		if errors.Is(err, door.ErrFull) && !c.srv.Implicit {
			c.reply(421, err.Error())
		}
		return
	}
	defer c.Leave()
	if c.srv.Implicit {
		if err := c.secure(); err != nil {
			c.Log.Debug("ftp: no TLS", "err", err)
			return
		}
		c.private = true
	}
	banner := c.srv.Banner
	if banner == "" {
		banner = "Memstore"
	}
	c.reply(220, banner)

	var reading sync.WaitGroup
	reading.Go(func() { c.readCommands(c.conn) })
	defer c.end(&reading)
	defer c.rescue()
	c.converse()
}

// end waits for everything that the session has begun.
func (c *session) end(reading *sync.WaitGroup) {
	c.Cut("connection closed")
	if why := c.whyCut(); why != "connection closed" {
		c.reply(421, why)
	}
	c.HangUp()
	c.abortData()
	if c.task != nil && c.task.cancel != nil {
		c.task.cancel()
	}
	reading.Wait()
	c.jobs.Wait()
	if c.lib != nil {
		c.lib.end()
		c.open.Wait()
		c.Log.Info("ftp: session ended", "seconds", time.Since(c.Began).Seconds(), "reason", c.whyCut())
	}
}

// converse answers the client until the session ends.
func (c *session) converse() {
	deadline := time.NewTimer(door.Span(c.srv.LoginTimeout, time.Minute))
	defer deadline.Stop()
	idle := door.Span(c.srv.IdleTimeout, 15*time.Minute)
	leaving, ended := false, false
	for {
		// Next is what the client has sent ahead.
		for c.task == nil && len(c.held) > 0 && !c.over() {
			cmd := c.held[0]
			c.held = c.held[1:]
			c.act(cmd)
		}
		if c.over() || c.task == nil && (leaving || ended) {
			if leaving && !ended {
				c.Cut("the server is shutting down")
			}
			return
		}
		commands, replies, done := c.commands, chan reply(nil), c.login.Done
		if len(c.held) >= maxHeld || ended {
			commands = nil
		}
		if c.lib != nil {
			replies = c.lib.replies
		}
		var libGone chan struct{}
		if c.lib != nil {
			libGone = c.lib.gone
		}
		select {
		case cmd, ok := <-commands:
			switch {
			case !ok:
				ended = true
			case errors.Is(cmd.err, errLineTooLong):
				c.reply(500, "line is too long")
				return
			case cmd.err != nil:
				if !errors.Is(cmd.err, io.EOF) {
					c.Log.Debug("ftp: connection lost", "err", cmd.err)
				}
				ended = true
			default:
				c.hear(cmd)
			}
			if ended && c.task != nil {
				if c.task.transfer {
					if c.quitting.Load() { // which is to be done when this has ended
						continue
					}
					return
				}
				patience := time.AfterFunc(grace, func() { c.Cut("connection closed") })
				defer patience.Stop()
			}
		case r := <-replies:
			c.hearLibrary(r)
		case <-libGone:
			c.Log.Error("ftp: the library ended its session")
			c.Cut("internal error")
		case <-done:
			c.Cut("the login has ended")
		case <-c.quiet:
			leaving = true
		case <-deadline.C:
			if c.task == nil {
				c.Cut("timeout")
			}
		case <-c.gone:
		}
		if c.lib != nil { // the time to log in is not renewed by talking
			deadline.Reset(idle)
		}
	}
}

// hear takes a command from the client: it waits for what is under way, unless
// it is about that.
func (c *session) hear(cmd command) {
	if c.task != nil {
		if c.task.transfer && c.meanwhile(cmd) {
			return
		}
		c.held = append(c.held, cmd)
		return
	}
	if len(c.held) > 0 {
		c.held = append(c.held, cmd)
		return
	}
	c.act(cmd)
}

// meanwhile answers what may be asked during a transfer, and reports whether it
// did. ftpserverlib would wait for the transfer to end before it answered NOOP,
// and not hear ABOR behind it.
func (c *session) meanwhile(cmd command) bool {
	switch {
	case cmd.bad != nil:
		return false
	case cmd.verb == "NOOP":
		c.reply(200, "OK")
	case cmd.verb == "STAT" && cmd.arg == "":
		c.status()
	case cmd.verb == "ABOR" && !c.task.aborted:
		c.task.aborted = true
		if c.task.cancel != nil {
			c.task.cancel()
		}
		c.abortData()
	default:
		return false
	}
	return true
}

// expect makes a listener of the library's the one for data.
func (c *session) expect(l net.Listener, port int) *dataListener {
	d := &dataListener{Listener: l, c: c, private: c.private, port: port}
	c.srv.ports.take(port)
	c.mu.Lock()
	old, closed := c.data, c.closed
	c.data = d
	c.mu.Unlock()
	if old != nil {
		old.abort()
	}
	if closed {
		d.abort()
	}
	return d
}

// abortData ends the transfer that is under way, or about to be.
func (c *session) abortData() {
	c.mu.Lock()
	d := c.data
	c.mu.Unlock()
	if d != nil {
		d.abort()
	}
}

// Cut ends the session from outside, or inside. The first reason counts.
func (c *session) Cut(why string) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed, c.why = true, why
	close(c.gone)
	c.mu.Unlock()
	c.abortData()
	// What is under way in the filesystem may finish; what hangs in it is told to
	// give up.
	giveUp := time.AfterFunc(grace, c.cancel)
	// serve says farewell, unless it is held up by a client that does not read.
	hangUp := time.AfterFunc(farewell, c.HangUp)
	context.AfterFunc(c.ctx, func() { giveUp.Stop(); hangUp.Stop() }) // it is over
}

func (c *session) over() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// LeaveWhenQuiet ends the session as soon as nothing is under way.
func (c *session) LeaveWhenQuiet() {
	select {
	case c.quiet <- struct{}{}:
	default:
	}
}

func (c *session) whyCut() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// rescue keeps a panic from ending the process.
func (c *session) rescue() {
	if p := recover(); p != nil {
		c.panicked(p)
	}
}

func (c *session) panicked(p any) {
	c.srv.log().Error("ftp: panic", "txid", c.ID, "panic", p, "stack", string(debug.Stack()))
}

// dataState says whether the data connection was made, and what has gone wrong
// with it.
func (c *session) dataState() (connected bool, err error) {
	c.mu.Lock()
	d := c.data
	c.mu.Unlock()
	if d == nil {
		return false, nil
	}
	_, err = d.transferred()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn != nil, err
}
