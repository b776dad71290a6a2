package ftp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestVictim is not a test but the client that TestKilledClients kills: it
// uploads some bytes and then waits for its end.
func TestVictim(t *testing.T) {
	addr := os.Getenv("FTP_VICTIM")
	if addr == "" {
		return // only a process that TestKilledClients starts is one
	}
	var size int
	var low bool
	fmt.Sscan(os.Getenv("FTP_VICTIM_OF"), &size, &low)
	var spare *os.File
	if low {
		spare, _ = os.Open(os.DevNull)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn, Reader: textproto.NewReader(bufio.NewReader(conn))}
	c.want("", 220)
	c.want("USER "+testUser, 331)
	c.want("PASS "+testPassword, 230)
	to := c.announce()
	if low {
		spare.Close() // the data connection gets its number, and is closed first by the kernel
	}
	d := c.connect(to)
	c.want("STOR /c/victim", 150)
	if _, err := d.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	fmt.Println("written")
	select {}
}

// A client whose process is killed leaves two connections that end as though all
// had been said. What it sent must not become the file, but can be resumed.
func TestKilledClients(t *testing.T) {
	h := newHouse(t)
	b := start(t, nil, h.login)
	for i := range 4 {
		size := []int{100, 100_000, 3 << 20, 3 << 20}[i]
		low := i%2 == 1
		t.Run(fmt.Sprintf("%d of %d, data first %v", i, size, low), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$")
			cmd.Env = append(os.Environ(), "FTP_VICTIM="+b.addr, fmt.Sprintf("FTP_VICTIM_OF=%d %v", size, low))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() && lines.Text() != "written" {
			}
			// What it has begun goes on for a while, as uploads do: the longer, the
			// longer the client is waited for, and the machine may be busy.
			<-time.After(time.Second)
			cmd.Process.Kill()
			cmd.Wait()
			waitUntil(t, func() bool { return len(b.Sessions()) == 0 })
			if in, err := h.store.Stat(context.Background(), objectPath("victim")); err == nil {
				t.Fatalf("what the dead client sent has become a file of %d bytes", in.Size)
			}
			c := b.login(t)
			// What was on its way when the control connection ended may be lost.
			c.send("SIZE /c/victim")
			code, text, _ := c.ReadResponse(0)
			if got, _ := strconv.Atoi(text); code == 213 && (got < 1 || got > size) || code != 213 && code != 550 {
				t.Errorf("of %d bytes SIZE says %d %s", size, code, text)
			}
			c.send("DELE /c/victim")
			c.ReadResponse(0)
		})
	}
}

// One who asked to QUIT before his upload had ended may close what he says it
// over, and hears of both.
func TestQuitBehindAnUpload(t *testing.T) {
	for _, half := range []bool{false, true} {
		h := newHouse(t)
		c := start(t, nil, h.login).login(t)
		d := c.data()
		c.want("STOR /c/f", 150)
		io.WriteString(c.conn, "QUIT\r\n")
		if half {
			c.conn.(*net.TCPConn).CloseWrite()
		}
		io.WriteString(d, "whole")
		d.Close()
		c.want("", 226)
		c.want("", 221)
		c.ended()
		wantFile(t, h.session(), "/c/f", "whole")
	}
}

func TestMoment(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: momentLess, 2 * time.Second: 40 * time.Millisecond, time.Hour: momentMost,
	} {
		if got := moment(took); got != want {
			t.Errorf("moment(%v) = %v, want %v", took, got, want)
		}
	}
}

// A client is missed as soon as it goes, and no sooner than the moment is over
// if it stays.
func TestMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, conn := net.Pipe()
		defer server.Close()
		defer conn.Close()
		s := new(Server)
		c := newSession(s, s.keeper.Visit(server, s.rules()))
		defer c.cancel()
		began := time.Now()
		if c.missing(time.Second) || time.Since(began) != time.Second {
			t.Errorf("one who stays is missed, or not waited for: %v", time.Since(began))
		}
		time.AfterFunc(300*time.Millisecond, func() { close(c.hungUp) })
		began = time.Now()
		if !c.missing(time.Second) || time.Since(began) != 300*time.Millisecond {
			t.Errorf("one who goes is not missed, after %v", time.Since(began))
		}
		c.quitting.Store(true)
		if c.missing(time.Second) {
			t.Error("one who said QUIT is missed")
		}
	})
}

// ended sees what nobody has read yet.
func TestEnded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, end := range map[string]func(*net.TCPConn){
		"closed":      func(c *net.TCPConn) { c.Close() },
		"half closed": func(c *net.TCPConn) { c.CloseWrite() },
		"reset":       func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
	} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if ended(server) {
			t.Errorf("one that is open has ended")
		}
		end(conn.(*net.TCPConn))
		waitUntil(t, func() bool { return ended(server) })
		if _, err := server.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: Read = %v", name, err)
		}
		server.Close()
		if !ended(server) && errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: one that is closed here has not ended", name)
		}
	}
}
