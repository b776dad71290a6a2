package ftp

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/afero"
)

// A stuckFs makes directories only when its context has ended.
type stuckFs struct {
	afero.Fs
	ctx context.Context
}

func (s *stuckFs) Mkdir(string, os.FileMode) error { <-s.ctx.Done(); return s.ctx.Err() }

// inBubble serves one connection in a bubble of time.
func inBubble(t *testing.T, configure func(*Server), talk func(c *client, ended <-chan struct{})) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{
			Log: slog.New(slog.DiscardHandler), RequireTLS: RequireNever,
			Password: func(ctx context.Context, _ Attempt, _ string) (Login, error) {
				return Login{Fs: &stuckFs{memFs(t), ctx}}, nil
			},
		}
		if configure != nil {
			configure(s)
		}
		server, conn := net.Pipe()
		defer conn.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			newSession(s, s.keeper.Visit(server, s.rules())).Serve()
		}()
		c := &client{t: t, conn: conn, Reader: textproto.NewReader(bufio.NewReader(conn))}
		c.want("", 220)
		talk(c, ended)
		conn.Close()
		<-ended
	})
}

func (c *client) logIn() {
	c.t.Helper()
	c.want("USER "+testUser, 331)
	c.want("PASS "+testPassword, 230)
}

// wantAfter checks that the server says farewell after d.
func (c *client) wantAfter(d time.Duration) {
	c.t.Helper()
	began := time.Now()
	c.want("", 421)
	if took := time.Since(began); took != d {
		c.t.Errorf("it took %v, want %v", took, d)
	}
}

func TestTimeouts(t *testing.T) {
	t.Run("login", func(t *testing.T) {
		inBubble(t, nil, func(c *client, _ <-chan struct{}) {
			time.Sleep(59 * time.Second)
			c.want("NOOP", 200) // which gains nothing
			c.wantAfter(time.Second)
		})
	})
	t.Run("idle", func(t *testing.T) {
		inBubble(t, nil, func(c *client, _ <-chan struct{}) {
			c.logIn()
			time.Sleep(14 * time.Minute)
			c.want("NOOP", 200)
			time.Sleep(14 * time.Minute)
			c.want("PWD", 257)
			c.wantAfter(15 * time.Minute)
		})
	})
	t.Run("never", func(t *testing.T) {
		inBubble(t, func(s *Server) { s.IdleTimeout, s.LoginTimeout = -1, -1 }, func(c *client, _ <-chan struct{}) {
			time.Sleep(time.Hour)
			c.logIn()
			time.Sleep(1000 * time.Hour)
			c.want("NOOP", 200)
		})
	})
}

// A filesystem that hangs is told to give up when its client has gone, or had to.
func TestFilesystemThatHangs(t *testing.T) {
	for name, leave := range map[string]func(c *client){
		"gone":         func(c *client) { c.conn.Close() },
		"does nothing": func(c *client) { go io.Copy(io.Discard, c.conn) },
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			inBubble(t, func(s *Server) {
				done = make(chan struct{})
				password := s.Password
				s.Password = func(ctx context.Context, a Attempt, p string) (Login, error) {
					l, err := password(ctx, a, p)
					l.Done = done
					return l, err
				}
			}, func(c *client, ended <-chan struct{}) {
				c.logIn()
				c.send("MKD /x")
				synctest.Wait()
				began := time.Now()
				leave(c)
				if name != "gone" {
					close(done)
				}
				<-ended
				if took := time.Since(began); took > 2*grace {
					t.Errorf("the session ended after %v", took)
				}
			})
		})
	}
}

// A client that does not read its replies holds nothing for long.
func TestClientThatDoesNotListen(t *testing.T) {
	inBubble(t, nil, func(c *client, ended <-chan struct{}) {
		c.logIn()
		began := time.Now()
		c.send("PWD")
		<-ended
		if took := time.Since(began); took != replyTimeout+farewell && took != replyTimeout {
			t.Errorf("the session ended after %v", took)
		}
	})
}
