package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/internal/ftpclient"
	"memstore.dev/memstore/internal/spawn"
)

// A fileDoor is a login to a store by a door for files. An error of its methods
// says that nothing was promised; nil is a promise.
type fileDoor interface {
	// put uploads a whole file.
	put(name string, b body) error

	// leave uploads the first n bytes of a file and goes away without finishing
	// it, in a way that the store answers. It returns how many it has kept.
	leave(name string, b body, n int) (size int64, err error)

	// resume uploads what is missing of a file that was left.
	resume(name string, b body, from int64) error

	rename(from, to string) error
	remove(name string) error

	// list describes what its user sees in a container.
	list(container string) ([]fs.FileInfo, error)

	close()
}

// A dialer logs in to a store by one of its doors for files.
type dialer func(ctx context.Context) (fileDoor, error)

// aLife is longer than any login here is needed for.
const aLife = time.Minute

func (b body) bytes() []byte { return b.slice(0, b.size) }

// An sftpDoor is a login by SFTP.
type sftpDoor struct {
	conn *ssh.Client
	c    *pkgsftp.Client
}

func dialSFTP(addr string) dialer {
	return func(ctx context.Context) (fileDoor, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		nc.SetDeadline(time.Now().Add(aLife))
		conn, chans, reqs, err := ssh.NewClientConn(nc, addr, &ssh.ClientConfig{
			User: fileUser, Auth: []ssh.AuthMethod{ssh.Password(spawn.Password)},
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), // it is our own process, on loopback
		})
		if err != nil {
			nc.Close()
			return nil, fmt.Errorf("sftp login: %w", err)
		}
		d := &sftpDoor{conn: ssh.NewClient(conn, chans, reqs)}
		if d.c, err = pkgsftp.NewClient(d.conn); err != nil {
			d.conn.Close()
			return nil, err
		}
		return d, nil
	}
}

// fileUser is how the user is spelled where a colon ends a name.
var fileUser = strings.Replace(spawn.User, ":", ".", 1)

func (d *sftpDoor) close() { d.conn.Close() }

func (d *sftpDoor) put(name string, b body) error {
	f, err := d.c.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(b.reader())
	return errors.Join(err, f.Close())
}

// leave ends a session of its own with the file still open. That the session's
// end has a status says that the server is done with it.
func (d *sftpDoor) leave(name string, b body, n int) (int64, error) {
	ch, requests, err := d.conn.OpenChannel("session", nil)
	if err != nil {
		return 0, err
	}
	defer ch.Close()
	if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); !ok {
		return 0, fmt.Errorf("the subsystem was refused: %w", err)
	}
	c, err := pkgsftp.NewClientPipe(ch, ch)
	if err != nil {
		return 0, err
	}
	f, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return 0, err
	}
	if _, err := f.Write(b.slice(0, n)); err != nil {
		return 0, err
	}
	if err := ch.CloseWrite(); err != nil {
		return 0, err
	}
	ended := false
	for r := range requests {
		ended = ended || r.Type == "exit-status"
	}
	if !ended {
		return 0, errors.New("the session was cut off")
	}
	in, err := d.c.Stat(name)
	if err == nil && in.Size() != int64(n) {
		err = fmt.Errorf("of %d bytes that were answered %d are kept", n, in.Size())
	}
	return int64(n), err
}

func (d *sftpDoor) resume(name string, b body, from int64) error {
	f, err := d.c.OpenFile(name, os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b.slice(int(from), b.size), from)
	return errors.Join(err, f.Close())
}

func (d *sftpDoor) rename(from, to string) error { return d.c.PosixRename(from, to) }
func (d *sftpDoor) remove(name string) error     { return d.c.Remove(name) }

func (d *sftpDoor) list(container string) ([]fs.FileInfo, error) { return d.c.ReadDir("/" + container) }

// An ftpDoor is a login by FTP.
type ftpDoor struct{ c *ftpclient.Conn }

func dialFTP(addr string) dialer {
	return func(ctx context.Context) (fileDoor, error) {
		c, err := ftpclient.Dial(ctx, addr, ftpclient.Options{User: fileUser, Password: spawn.Password, Timeout: aLife})
		if err != nil {
			return nil, err
		}
		return &ftpDoor{c}, nil
	}
}

func (d *ftpDoor) close() { d.c.Cut() }

func (d *ftpDoor) put(name string, b body) error {
	u, err := d.c.StoreOf(name, int64(b.size))
	if err != nil {
		return err
	}
	_, err = u.Write(b.bytes())
	return errors.Join(err, u.Close())
}

func (d *ftpDoor) leave(name string, b body, n int) (int64, error) {
	u, err := d.c.Store(name, 0)
	if err != nil {
		return 0, err
	}
	if _, err := u.Write(b.slice(0, n)); err != nil {
		return 0, err
	}
	if err := u.Abort(); err != nil {
		return 0, err
	}
	size, err := d.c.Size(name) // not all that was sent need have been read
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return size, err
}

func (d *ftpDoor) resume(name string, b body, from int64) error {
	return d.c.Resume(name, from, bytes.NewReader(b.slice(int(from), b.size)))
}

func (d *ftpDoor) rename(from, to string) error { return d.c.Rename(from, to) }
func (d *ftpDoor) remove(name string) error     { return d.c.Remove(name) }

func (d *ftpDoor) list(container string) (infos []fs.FileInfo, err error) {
	entries, err := d.c.List("/" + container)
	for _, e := range entries {
		infos = append(infos, e)
	}
	return infos, err
}
