package peer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// A FileServer is somebody else's server for files, on loopback, with a
// directory to itself.
type FileServer struct {
	Name    string
	Version string // of Debian's package

	SFTP, FTP string // HOST:PORT of what it speaks; FTP also with AUTH TLS
	Local     string // the directory, here
	Remote    string // the same as its clients know it

	User     string
	Password string // for FTP
	Key      string // for SFTP: the file with the private key

	cmd    *exec.Cmd
	said   *bytes.Buffer
	exited chan struct{}
}

// What is needed to start each: a program, the Debian package that has it, and
// its configuration.
type fileServer struct {
	program, pkg string
	args         []string
	config       *template.Template
}

var fileServers = map[string]fileServer{
	"sshd": {"sbin/sshd", "openssh-server", []string{"-D", "-e", "-f"}, template.Must(template.New("sshd").Parse(`
ListenAddress {{.SFTP}}
HostKey {{.Key}}
PidFile none
UsePAM no
UseDNS no
StrictModes no
AuthorizedKeysFile {{.Key}}.pub
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
LogLevel ERROR
Subsystem sftp internal-sftp
`))},
	"vsftpd": {"sbin/vsftpd", "vsftpd", nil, template.Must(template.New("vsftpd").Parse(`
listen=YES
listen_address=127.0.0.1
listen_port={{.Port}}
background=NO
anonymous_enable=YES
no_anon_password=YES
ftp_username=daemon
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
anon_root={{.Chroot}}
secure_chroot_dir={{.Empty}}
seccomp_sandbox=NO
use_sendfile=YES
xferlog_enable=NO
max_clients=0
max_per_ip=0
ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=NO
force_anon_data_ssl=NO
require_ssl_reuse=NO
strict_ssl_read_eof=NO
ssl_ciphers=ECDHE+AESGCM
rsa_cert_file={{.Certificate}}
rsa_private_key_file={{.Certificate}}
`))},
	"proftpd": {"sbin/proftpd", "proftpd-core", []string{"--nodaemon", "--config"}, template.Must(template.New("proftpd").Parse(`
ModulePath {{.Modules}}
LoadModule mod_tls.c
ServerName "bench"
ServerType standalone
DefaultServer on
DefaultAddress 127.0.0.1
SocketBindTight on
Port {{.Port}}
UseIPv6 off
UseReverseDNS off
WtmpLog off
TransferLog none
DelayEngine off
ScoreboardFile {{.Dir}}/score
PidFile {{.Dir}}/pid
SystemLog {{.Dir}}/log
MaxInstances 200
User daemon
Group daemon
TLSEngine on
TLSRequired off
TLSProtocol TLSv1.2 TLSv1.3
TLSOptions NoSessionReuseRequired
TLSECCertificateFile {{.Certificate}}
TLSECCertificateKeyFile {{.Certificate}}
<Anonymous {{.Chroot}}>
  User daemon
  Group daemon
  UserAlias anonymous daemon
  AnonRequirePassword off
  RequireValidShell off
  AllowOverwrite on
  <Limit WRITE>
    AllowAll
  </Limit>
</Anonymous>
`))},
}

// StartFileServer starts sshd, vsftpd or proftpd, with what it keeps in dir, where
// anybody must be able to enter: some of them serve as somebody else. It
// ends with Stop or with this process. Packages that are missing are unpacked
// beside the user's other caches, not installed, since they would start
// services of their own and Debian's FTP servers cannot live together. If that
// cannot be the error is ErrUnavailable: all of them need root.
func StartFileServer(ctx context.Context, name, dir string) (*FileServer, error) {
	s, err := startFileServer(ctx, name, dir)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return s, nil
}

func startFileServer(ctx context.Context, name, dir string) (*FileServer, error) {
	how, ok := fileServers[name]
	if !ok {
		return nil, fmt.Errorf("nobody knows how")
	}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: it needs root", ErrUnavailable)
	}
	program, version, err := findProgram(ctx, how)
	if err != nil {
		return nil, err
	}
	addr, port, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &FileServer{Name: name, Version: version, said: new(bytes.Buffer), exited: make(chan struct{})}
	chroot := filepath.Join(dir, "root")
	s.Local, s.Remote = filepath.Join(chroot, "bench"), "/bench"
	for _, d := range []string{s.Local, filepath.Join(dir, "empty")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	key := filepath.Join(dir, "key")
	if name == "sshd" {
		if _, err := user.Lookup("sshd"); err != nil { // whom its package makes, for what it does unprivileged
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		s.SFTP, s.User, s.Key, s.Remote = addr, "root", key, s.Local
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where its unprivileged part lives
			return nil, err
		}
	} else {
		// Files are a user's who has a home, which vsftpd insists on, and nothing else.
		daemon, err := user.Lookup("daemon")
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		s.FTP, s.User, s.Password = addr, "anonymous", "bench@localhost"
		uid, _ := strconv.Atoi(daemon.Uid)
		if err := os.Chown(s.Local, uid, -1); err != nil {
			return nil, err
		}
	}
	certificate := filepath.Join(dir, "certificate.pem")
	if err := writeCertificate(certificate); err != nil {
		return nil, err
	}
	var config bytes.Buffer
	err = how.config.Execute(&config, map[string]string{
		"SFTP": s.SFTP, "Port": port, "Key": key, "Certificate": certificate,
		"Dir": dir, "Chroot": chroot, "Empty": filepath.Join(dir, "empty"),
		"Modules": filepath.Join(filepath.Dir(filepath.Dir(program)), "lib/proftpd"),
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(file, config.Bytes(), 0o600); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(program, append(how.args, file)...)
	libraries, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(program)), "lib/*-linux-gnu*"))
	if err != nil {
		return nil, err
	}
	s.cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	s.cmd.WaitDelay = time.Second // its sessions have its output, too
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.cmd.Wait(); close(s.exited) }()
	if err := s.await(ctx, addr); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// await returns when the server takes connections.
func (s *FileServer) await(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return nc.Close()
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended at its start: %v: %s", s.cmd.ProcessState, bytes.TrimSpace(s.said.Bytes()))
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// PID is the process that the server's others descend from.
func (s *FileServer) PID() int { return s.cmd.Process.Pid }

// Stop ends the server. What was stored stays.
func (s *FileServer) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(5 * time.Second):
		s.cmd.Process.Kill()
		<-s.exited
	}
}

// freeAddress is an address on loopback where nobody listens.
func freeAddress() (addr, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	addr = l.Addr().String()
	_, port, _ = net.SplitHostPort(addr)
	return addr, port, l.Close()
}

// findProgram looks for a program where packages are installed, and then where
// they are only unpacked.
func findProgram(ctx context.Context, how fileServer) (program, version string, err error) {
	installed := filepath.Join("/usr", how.program)
	if _, err := os.Stat(installed); err == nil {
		out, _ := exec.CommandContext(ctx, "dpkg-query", "-Wf", "${Version}", how.pkg).Output()
		return installed, string(out), nil
	}
	packages := []string{how.pkg}
	if how.pkg == "proftpd-core" {
		packages = append(packages, "proftpd-mod-crypto") // has TLS
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	into := filepath.Join(cache, "memstore-peers", how.pkg)
	program = filepath.Join(into, "usr", how.program)
	label := filepath.Join(into, "version")
	if _, err := os.Stat(label); errors.Is(err, fs.ErrNotExist) {
		if err := unpack(ctx, into, label, packages); err != nil {
			return "", "", fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	text, err := os.ReadFile(label)
	return program, string(text), err
}

// unpack fetches packages, and the libraries they need that are missing, and
// lays out their files beneath a directory. The label, which has the version of
// the first, is written when all is there.
func unpack(ctx context.Context, into, label string, packages []string) error {
	debs, err := os.MkdirTemp("", "memstore-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(debs)
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	version := ""
	for i := 0; i < len(packages); i++ {
		name := packages[i]
		fetch := exec.CommandContext(ctx, "apt-get", "download", "-q", name)
		fetch.Dir = debs
		if out, err := fetch.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get download %s: %w: %s", name, err, out)
		}
		found, err := filepath.Glob(filepath.Join(debs, name+"_*.deb"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%d files came for package %s", len(found), name)
		}
		if i == 0 {
			version = strings.Split(filepath.Base(found[0]), "_")[1]
		}
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", found[0], into).CombinedOutput(); err != nil {
			return fmt.Errorf("dpkg -x %s: %w: %s", name, err, out)
		}
		needs, err := exec.CommandContext(ctx, "dpkg-deb", "-f", found[0], "Depends").Output()
		if err != nil {
			return fmt.Errorf("dpkg-deb -f %s: %w", name, err)
		}
		for need := range strings.SplitSeq(string(needs), ",") {
			lib, _, _ := strings.Cut(strings.TrimSpace(need), " ")
			if strings.HasPrefix(lib, "lib") && !slices.Contains(packages, lib) && !isInstalled(ctx, lib) {
				packages = append(packages, lib)
			}
		}
	}
	return os.WriteFile(label, []byte(version), 0o644)
}

func isInstalled(ctx context.Context, pkg string) bool {
	out, _ := exec.CommandContext(ctx, "dpkg-query", "-Wf", "${db:Status-Status}", pkg).Output()
	return string(out) == "installed"
}

// writeCertificate makes a certificate that nobody trusts, with its key in the
// same file.
func writeCertificate(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotAfter: time.Now().Add(48 * time.Hour), DNSNames: []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...)
	return os.WriteFile(name, text, 0o600)
}
