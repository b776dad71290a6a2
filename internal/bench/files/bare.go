package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	ftpserver "github.com/fclairamb/ftpserverlib"
	pkgsftp "github.com/pkg/sftp"
	"github.com/spf13/afero"
	"golang.org/x/crypto/ssh"
)

// bareEnv marks a process that is a bare server: also that of a test.
const bareEnv = "MEMSTORE_BENCH_BARE"

// serveBare is the least that the libraries need to serve a directory by SFTP
// and FTP: what they do then nobody does faster who builds on them. It prints
// where it listens, lets everybody in, and ends with its parent.
func serveBare(root string) error {
	forSFTP, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	forFTP, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	config := &ssh.ServerConfig{
		Config:            ssh.Config{Ciphers: []string{ssh.CipherAES128GCM}},
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil },
	}
	config.AddHostKey(signer)
	ftp := ftpserver.NewFtpServer(&bareFTP{forFTP, root})
	ended := make(chan error, 2)
	go func() { ended <- ftp.ListenAndServe() }()
	go func() {
		for {
			nc, err := forSFTP.Accept()
			if err != nil {
				ended <- err
				return
			}
			go bareSFTP(nc, config, root)
		}
	}()
	fmt.Println(forSFTP.Addr(), forFTP.Addr())
	return <-ended
}

// bareSFTP serves one connection.
func bareSFTP(nc net.Conn, config *ssh.ServerConfig, root string) {
	defer nc.Close()
	_, chans, reqs, err := ssh.NewServerConn(nc, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nch := range chans {
		ch, reqs, err := nch.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range reqs {
				r.Reply(r.Type == "subsystem", nil)
			}
		}()
		h := bareFiles(root)
		s := pkgsftp.NewRequestServer(ch, pkgsftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h},
			pkgsftp.WithRSAllocator(), pkgsftp.WithRSMaxTxPacket(255<<10))
		s.Serve()
		ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
		ch.Close()
	}
}

// bareFiles are the files of a directory.
type bareFiles string

func (root bareFiles) path(name string) string {
	return filepath.Join(string(root), filepath.Clean("/"+name))
}

func (root bareFiles) Fileread(r *pkgsftp.Request) (io.ReaderAt, error) {
	return os.Open(root.path(r.Filepath))
}

func (root bareFiles) Filewrite(r *pkgsftp.Request) (io.WriterAt, error) {
	return os.OpenFile(root.path(r.Filepath), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
}

func (root bareFiles) Filecmd(r *pkgsftp.Request) error {
	switch r.Method {
	case "Mkdir":
		return os.Mkdir(root.path(r.Filepath), 0o755)
	case "Remove":
		return os.Remove(root.path(r.Filepath))
	}
	return nil // what clients set of a file is of no matter here
}

func (root bareFiles) Filelist(r *pkgsftp.Request) (pkgsftp.ListerAt, error) {
	if r.Method != "List" {
		in, err := os.Stat(root.path(r.Filepath))
		return bareList{in}, err
	}
	entries, err := os.ReadDir(root.path(r.Filepath))
	var list bareList
	for _, e := range entries {
		if in, err := e.Info(); err == nil {
			list = append(list, in)
		}
	}
	return list, err
}

type bareList []os.FileInfo

func (l bareList) ListAt(to []os.FileInfo, offset int64) (int, error) {
	if offset >= int64(len(l)) {
		return 0, io.EOF
	}
	return copy(to, l[offset:]), nil
}

// bareFTP lets anybody have the files of a directory.
type bareFTP struct {
	l    net.Listener
	root string
}

func (d *bareFTP) GetSettings() (*ftpserver.Settings, error) {
	return &ftpserver.Settings{
		Listener: d.l, PublicHost: "127.0.0.1", DefaultTransferType: ftpserver.TransferTypeBinary,
		PassiveTransferPortRange: &barePorts{},
	}, nil
}

func (d *bareFTP) ClientConnected(ftpserver.ClientContext) (string, error) { return "bare", nil }
func (d *bareFTP) ClientDisconnected(ftpserver.ClientContext)              {}

func (d *bareFTP) GetTLSConfig() (*tls.Config, error) { return nil, errors.New("there is no TLS") }

func (d *bareFTP) AuthUser(ftpserver.ClientContext, string, string) (ftpserver.ClientDriver, error) {
	return bareDriver{afero.NewBasePathFs(afero.NewOsFs(), d.root), bareFiles(d.root)}, nil
}

// A bareDriver hands out files as the operating system has them, which is what
// lets the kernel send them.
type bareDriver struct {
	afero.Fs
	root bareFiles
}

func (d bareDriver) GetHandle(name string, flags int, _ int64) (ftpserver.FileTransfer, error) {
	return os.OpenFile(d.root.path(name), flags, 0o644)
}

// barePorts are ports for data connections, each another: a range of the
// library's own has it draw lots for every transfer.
type barePorts struct{ n atomic.Int64 }

func (p *barePorts) NumberAttempts() int { return 100 }

func (p *barePorts) FetchNext() (exposed, listened int, ok bool) {
	const first, count = 20_000, 10_000 // beneath those that the kernel hands out
	port := first + int(p.n.Add(1)%count)
	return port, port, true
}
