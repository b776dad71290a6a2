package vfs_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"github.com/spf13/afero"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/sftp"
	"memstore.dev/memstore/storage/vfs/vfstest"
)

// The contract of the filesystem holds, all of it, for who comes by SFTP.
func TestFilesystemOverSFTP(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	vfstest.Run(t, func(t *testing.T) afero.Fs {
		login := logins()
		addr := open(t, &sftp.Server{
			HostKeys: []ssh.Signer{host}, Log: slog.New(slog.DiscardHandler),
			Password: func(ctx context.Context, _ sftp.Attempt, pw string) (sftp.Login, error) {
				f, err := login(ctx, pw)
				return sftp.Login{Fs: f}, err
			},
		})
		conn, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
			User: user, Auth: []ssh.AuthMethod{ssh.Password(password)}, HostKeyCallback: ssh.FixedHostKey(host.PublicKey()),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		client, err := pkgsftp.NewClient(conn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return sftpFs{client}
	})
}

// sftpFs is an SFTP client as a filesystem.
type sftpFs struct{ c *pkgsftp.Client }

var (
	_ afero.Fs   = sftpFs{}
	_ afero.File = sftpFile{}
)

// said finds in the words of a server what the protocol has no code for.
func said(err error) error {
	status, ok := errors.AsType[*pkgsftp.StatusError](err)
	if !ok {
		return err
	}
	for words, kind := range map[string]error{"not empty": syscall.ENOTEMPTY, "file exists": fs.ErrExist} {
		if strings.Contains(status.Error(), words) {
			return errors.Join(kind, err)
		}
	}
	return err
}

func (f sftpFs) Name() string { return "sftp" }

func (f sftpFs) Create(name string) (afero.File, error) {
	return f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0)
}

func (f sftpFs) Open(name string) (afero.File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

func (f sftpFs) OpenFile(name string, flag int, _ os.FileMode) (afero.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		in, err := f.Stat(name)
		if err != nil {
			return nil, err
		}
		if in.IsDir() {
			return &dir{name: name, info: in, list: func() ([]fs.FileInfo, error) { return f.c.ReadDir(name) }}, nil
		}
	}
	file, err := f.c.OpenFile(name, flag)
	if err != nil {
		return nil, said(err)
	}
	return sftpFile{file}, nil
}

func (f sftpFs) Stat(name string) (os.FileInfo, error) {
	in, err := f.c.Stat(name)
	return in, said(err)
}

func (f sftpFs) Mkdir(name string, _ os.FileMode) error    { return said(f.c.Mkdir(name)) }
func (f sftpFs) MkdirAll(name string, m os.FileMode) error { return mkdirAll(f, name, m) }
func (f sftpFs) Remove(name string) error                  { return said(f.c.Remove(name)) }
func (f sftpFs) RemoveAll(name string) error               { return removeAll(f, name) }
func (f sftpFs) Rename(from, to string) error              { return said(f.c.PosixRename(from, to)) }
func (f sftpFs) Chmod(name string, m os.FileMode) error    { return said(f.c.Chmod(name, m)) }
func (f sftpFs) Chown(name string, uid, gid int) error     { return said(f.c.Chown(name, uid, gid)) }
func (f sftpFs) Chtimes(name string, a, m time.Time) error { return said(f.c.Chtimes(name, a, m)) }

// An sftpFile is a file that the client has open.
type sftpFile struct{ *pkgsftp.File }

func (f sftpFile) WriteString(s string) (int, error) { return f.Write([]byte(s)) }

func (f sftpFile) Readdir(int) ([]os.FileInfo, error) {
	return nil, &fs.PathError{Op: "readdir", Path: f.Name(), Err: syscall.ENOTDIR}
}

func (f sftpFile) Readdirnames(int) ([]string, error) {
	_, err := f.Readdir(0)
	return nil, err
}
