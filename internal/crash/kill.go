package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"memstore.dev/memstore/internal/spawn"
)

// A killer is memstore itself on a directory, struck by SIGKILL. What the
// kernel was told survives that, synced or not: it finds wrong order, torn
// states and answers given too early, and a powercut finds what was not synced.
type killer struct {
	bin  string
	data string
	env  []string // for the server
	p    *spawn.Process
}

func (m *killer) lateAcks() bool { return true } // what was sent was promised

func (m *killer) start(ctx context.Context) (endpoint, error) {
	p, err := spawn.Start(m.bin, m.data, fileDoors, m.env)
	if err != nil {
		return endpoint{}, err
	}
	m.p = p
	if err := p.Ready(ctx); err != nil {
		return endpoint{}, err
	}
	doors, err := p.FileDoors(ctx)
	if err != nil {
		return endpoint{}, err
	}
	url, token, err := p.Login(ctx)
	return endpoint{url, token, []dialer{dialSFTP(doors["SFTP"]), dialFTP(doors["FTP"])}}, err
}

// fileDoors open the doors for files.
var fileDoors = []string{"--sftp", "127.0.0.1:0", "--ftp", "127.0.0.1:0"}

func (m *killer) stumble(ctx context.Context, after time.Duration) error {
	p, err := spawn.Start(m.bin, m.data, fileDoors, m.env)
	if err != nil {
		return err
	}
	wait(ctx, after)
	p.Kill()
	return nil
}

func (m *killer) strike(context.Context) error {
	if m.p != nil {
		m.p.Kill()
	}
	return nil
}

// inspect looks for what a crash may leave lying about, and then runs fsck
// beside the server, which has a snapshot to itself meanwhile.
func (m *killer) inspect(ctx context.Context, kept int) error {
	for _, dir := range []string{"staging", "quarantine", "snapshots"} {
		names, err := filepath.Glob(filepath.Join(m.data, dir, "*"))
		if err != nil {
			return err
		}
		if dir == "staging" {
			all := len(names)
			names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(filepath.Base(name), "kept-") })
			if n := all - len(names); n != kept {
				return fmt.Errorf("%d files of unfinished uploads are kept, want %d", n, kept)
			}
		}
		if len(names) > 0 {
			return fmt.Errorf("left behind: %q", names)
		}
	}
	return fsck(ctx, m.bin, m.data)
}

// fsck has memstore examine a data directory, whether or not it is in use.
func fsck(ctx context.Context, bin, data string, args ...string) error {
	cmd := exec.CommandContext(ctx, bin, append([]string{"fsck", "--data", data}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("memstore fsck: %w\n%s", err, out)
	}
	return nil
}

// kills strikes a store so many times by SIGKILL and then stops it as it should
// be stopped, and examines it once more, every byte of it.
func kills(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "memstore-kill-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := &killer{bin: o.bin, data: filepath.Join(dir, "data")}
	defer m.strike(ctx)
	c := newCampaign(m, o.writers, o.seed, o.log)
	begun := time.Now()
	if err := c.run(ctx, o.n); err != nil {
		return err
	}
	if err := m.p.Stop(ctx); err != nil {
		return fmt.Errorf("seed %d: %w", o.seed, err)
	}
	if err := fsck(ctx, o.bin, m.data, "--read-data"); err != nil {
		return fmt.Errorf("seed %d: %w", o.seed, err)
	}
	fmt.Fprintf(o.log, "kill: %d kills in %s, %d changes acknowledged, 0 lost, 0 torn, %d unanswered; %d unfinished uploads survived a kill, %d were gone on with\n",
		c.blows, time.Since(begun).Round(time.Second), c.acked, c.unanswered, c.found, c.resumed)
	return nil
}
