package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/afero"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/ftp"
	"memstore.dev/memstore/sftp"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/vfs"
)

// A fileLogin opens to those who log in at a file door the filesystem of their
// account.
type fileLogin struct {
	realm *auth.Realm
	guard *auth.Guard
	store *storage.Store
	space func() (total, free uint64, err error) // nil if nobody knows
	keep  time.Duration                          // of what was cut off; 0 keeps nothing
}

// admit keeps banned addresses out before they have said anything.
func (l *fileLogin) admit(remote net.Addr) error {
	if l.realm.Defender().Banned(addressOf(remote)) {
		return auth.ErrBanned
	}
	return nil
}

func (l *fileLogin) sftpPassword(ctx context.Context, a sftp.Attempt, password string) (sftp.Login, error) {
	id, err := l.realm.Password(ctx, auth.Attempt{User: a.User, From: addressOf(a.Remote), Door: "sftp"}, password)
	if err != nil {
		return sftp.Login{}, err
	}
	fsys, done := l.open(ctx, id, a.ID)
	return sftp.Login{Fs: fsys, User: id.User, Done: done}, nil
}

func (l *fileLogin) sftpKey(ctx context.Context, a sftp.Attempt, key ssh.PublicKey) (sftp.Login, error) {
	id, err := l.realm.PublicKey(ctx, auth.Attempt{User: a.User, From: addressOf(a.Remote), Door: "sftp"}, key)
	if err != nil || !a.Proven {
		return sftp.Login{}, err
	}
	fsys, done := l.open(ctx, id, a.ID)
	return sftp.Login{Fs: fsys, User: id.User, Done: done}, nil
}

func (l *fileLogin) ftpPassword(ctx context.Context, a ftp.Attempt, password string) (ftp.Login, error) {
	id, err := l.realm.Password(ctx, auth.Attempt{User: a.User, From: addressOf(a.Remote), Door: "ftp"}, password)
	if err != nil {
		return ftp.Login{}, err
	}
	fsys, done := l.open(ctx, id, a.ID)
	return ftp.Login{Fs: fsys, User: id.User, Done: done}, nil
}

// open returns the filesystem of a session that lives as long as ctx, and no
// longer than its user keeps the rights he has logged in with: then done is
// closed. What is asked of the store carries the transaction id of the session.
func (l *fileLogin) open(ctx context.Context, id auth.Identity, txid string) (_ afero.Fs, done <-chan struct{}) {
	ctx, cancel := l.realm.While(storage.WithTransID(ctx, txid), id)
	context.AfterFunc(ctx, cancel) // the realm need not watch over a session that is over
	keep := l.keep
	if keep == 0 {
		keep = -1
	}
	return vfs.New(ctx, l.store, auth.StorageAccount(id.Account), vfs.Options{
		Owner:    id.User,
		Keep:     keep,
		Writable: l.guard.Writable,
		Space:    l.space,
	}), ctx.Done()
}

// addressOf is where a connection comes from, without its port.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}
