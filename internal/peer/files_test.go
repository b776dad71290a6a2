package peer

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Each of the servers takes a file and keeps it in its directory, and is gone
// when it is stopped.
func TestFileServers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	for name := range fileServers {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "memstore-peer-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			s, err := StartFileServer(t.Context(), name, dir)
			if errors.Is(err, ErrUnavailable) && os.Getenv("CI") == "" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			stopped := false
			defer func() {
				if !stopped {
					s.Stop()
				}
			}()
			here := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(here, []byte("to "+name), 0o644); err != nil {
				t.Fatal(err)
			}
			var cmd *exec.Cmd
			if s.SFTP != "" {
				host, port, _ := net.SplitHostPort(s.SFTP)
				cmd = exec.Command("sftp", "-q", "-P", port, "-i", s.Key, "-oIdentitiesOnly=yes", "-oStrictHostKeyChecking=no",
					"-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR", "-b", "-", s.User+"@"+host)
				cmd.Stdin = strings.NewReader("put " + here + " " + s.Remote + "/file\n")
			} else {
				cmd = exec.Command("curl", "-sS", "--insecure", "--ssl-reqd", "-u", s.User+":"+s.Password, "-T", here, "ftp://"+s.FTP+s.Remote+"/file")
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s\n%s", cmd.Args, err, out, s.said)
			}
			if got, err := os.ReadFile(filepath.Join(s.Local, "file")); err != nil || string(got) != "to "+name {
				t.Errorf("it keeps %q, %v", got, err)
			}
			if s.Version == "" {
				t.Error("it has no version")
			}
			s.Stop()
			stopped = true
			if nc, err := net.Dial("tcp", s.SFTP+s.FTP); err == nil {
				nc.Close()
				t.Error("it still listens")
			}
		})
	}
}
