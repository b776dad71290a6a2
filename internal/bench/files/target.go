package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/internal/peer"
	"memstore.dev/memstore/internal/spawn"
)

// A target is a server as it is reached by one protocol.
type target struct {
	server string
	proto  string // sftp, ftp, ftps (explicit) or swift
	host   string
	port   string
	dir    string // where clients may write
	local  string // the same directory here, if the server keeps plain files

	user, password string
	key            string // file of the private key, for sftp
	url, token     string // of the account, for swift

	pid  int
	stop func() // of the first target of a server; nil for the others
}

func (t *target) String() string { return t.server + " " + t.proto }

func (b *bench) add(t *target, addr string) {
	t.host, t.port, _ = net.SplitHostPort(addr)
	b.targets = append(b.targets, t)
}

// startMemstore starts Memstore as it is shipped, with all its doors.
func (b *bench) startMemstore(ctx context.Context) error {
	data := filepath.Join(b.dir, "memstore-data")
	p, err := spawn.Start(b.bin, data, []string{"--sftp", "127.0.0.1:0", "--ftp", "127.0.0.1:0"}, nil)
	if err != nil {
		return err
	}
	stop := func() { p.Kill() }
	if err := p.Ready(ctx); err != nil {
		stop()
		return err
	}
	doors, err := p.FileDoors(ctx)
	if err != nil {
		stop()
		return err
	}
	key := filepath.Join(b.dir, "memstore-key")
	if err := makeKey(key); err != nil {
		stop()
		return err
	}
	if out, err := exec.CommandContext(ctx, b.bin, "user", "key", "add", "--data", data, spawn.User, key+".pub").CombinedOutput(); err != nil {
		stop()
		return fmt.Errorf("user key add: %w: %s", err, out)
	}
	account, token, err := p.Login(ctx)
	if err != nil {
		stop()
		return err
	}
	u, err := url.Parse(account)
	if err != nil {
		stop()
		return err
	}
	user := strings.Replace(spawn.User, ":", ".", 1)
	for i, proto := range protos {
		t := &target{server: "memstore", proto: proto, dir: "/bench-" + proto, user: user, password: spawn.Password,
			key: key, url: account, token: token, pid: p.PID()}
		if i == 0 {
			t.stop = stop
		}
		b.add(t, map[string]string{"sftp": doors["SFTP"], "ftp": doors["FTP"], "ftps": doors["FTP"], "swift": u.Host}[proto])
	}
	return nil
}

// makeKey makes a key pair as ssh-keygen does.
func makeKey(name string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "bench")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	pub, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	return os.WriteFile(name+".pub", ssh.MarshalAuthorizedKey(pub), 0o644)
}

// startBare starts this program as a server of its own.
func (b *bench) startBare(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	root := filepath.Join(b.dir, "bare")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	key := filepath.Join(b.dir, "bare-key")
	if err := makeKey(key); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "bare", root)
	cmd.Env = append(os.Environ(), bareEnv+"=1")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := func() { cmd.Process.Kill(); cmd.Wait() }
	line, err := bufio.NewReader(out).ReadString('\n')
	addrs := strings.Fields(line)
	if err != nil || len(addrs) != 2 {
		stop()
		return fmt.Errorf("it said %q, %v: %s", line, err, &complaints)
	}
	t := &target{server: "bare", proto: "sftp", dir: "/", local: root, user: "bench", key: key, pid: cmd.Process.Pid, stop: stop}
	b.add(t, addrs[0])
	t = &target{server: "bare", proto: "ftp", dir: "/", local: root, user: "bench", password: "bench", pid: cmd.Process.Pid}
	b.add(t, addrs[1])
	return nil
}

func (b *bench) addPeer(p *peer.FileServer) {
	t := target{server: p.Name, dir: p.Remote, local: p.Local, user: p.User, password: p.Password, key: p.Key, pid: p.PID()}
	stop := p.Stop
	for _, proto := range []string{"sftp", "ftp", "ftps"} {
		addr := p.FTP
		if proto == "sftp" {
			addr = p.SFTP
		}
		if addr != "" {
			one := t
			one.proto, one.stop = proto, stop
			b.add(&one, addr)
			stop = nil
		}
	}
}

// path is where clients find a name.
func (t *target) path(name string) string { return strings.TrimSuffix(t.dir, "/") + "/" + name }

// prepare makes the directories that are uploaded to, and fills the one that is
// listed.
func (t *target) prepare(ctx context.Context, b *bench) error {
	if t.local != "" {
		for _, name := range []string{"", "-list"} {
			dir := filepath.Join(t.local, t.proto+name)
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return err
			}
			if err := os.Chmod(dir, 0o777); err != nil {
				return err
			}
		}
		for i := range b.listed() {
			if err := os.WriteFile(filepath.Join(t.local, t.proto+"-list", entryName(i)), nil, 0o644); err != nil {
				return err
			}
		}
		t.dir = t.path(t.proto)
		return nil
	}
	// Whoever logs in by SFTP does so with a key that is to be known by now.
	if t.proto == "sftp" {
		deadline := time.Now().Add(10 * time.Second)
		for b.sftp(ctx, t, "pwd\n") != nil {
			if time.Now().After(deadline) {
				return b.sftp(ctx, t, "pwd\n")
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	s := newSwift(t)
	for _, name := range []string{t.dir, t.dir + "-list"} {
		if err := s.put(ctx, name, nil, 0); err != nil {
			return err
		}
	}
	return each(b.listed(), 16, func(i int) error {
		return s.put(ctx, t.dir+"-list/"+entryName(i), strings.NewReader(""), 0)
	})
}

// listed is how many entries the long directory has, if anybody lists it.
func (b *bench) listed() int {
	if !slices.Contains(b.cases, "list") {
		return 0
	}
	return b.entries
}

func entryName(i int) string { return fmt.Sprintf("entry-%06d.txt", i) }
