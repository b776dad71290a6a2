package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"memstore.dev/memstore/internal/spawn"
)

// A cutter is memstore on a file system of its own, struck by the file system's
// shutdown: whatever has not reached the device never will.
type cutter struct {
	killer
	image string
	mount string
}

func (m *cutter) lateAcks() bool { return false }

// newCutter makes an image with a file system in dir, mounted beneath it.
func newCutter(ctx context.Context, dir, system, bin string, env []string) (*cutter, error) {
	m := &cutter{image: filepath.Join(dir, "image"), mount: filepath.Join(dir, "mount")}
	m.killer = killer{bin: bin, data: filepath.Join(m.mount, "data"), env: env}
	if err := os.Mkdir(m.mount, 0o700); err != nil {
		return nil, err
	}
	// Room enough for the reserve that the engine keeps free; the image is
	// sparse.
	f, err := os.Create(m.image)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(4 << 30)
	f.Close()
	if err != nil {
		return nil, err
	}
	mkfs := map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", m.image},
		"xfs":  {"mkfs.xfs", "-q", "-f", m.image},
	}[system]
	if mkfs == nil {
		return nil, fmt.Errorf("no way is known to make a file system %q", system)
	}
	if err := command(ctx, mkfs...); err != nil {
		return nil, err
	}
	return m, command(ctx, "mount", "-o", "loop", m.image, m.mount)
}

func command(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, out)
	}
	return nil
}

// strike cuts the power: the file system stops, then the server, and the file
// system comes back with what its device has.
func (m *cutter) strike(ctx context.Context) error {
	if err := shutDown(m.mount); err != nil {
		return err
	}
	if err := m.killer.strike(ctx); err != nil {
		return err
	}
	if err := m.unmount(); err != nil {
		return err
	}
	return command(ctx, "mount", "-o", "loop", m.image, m.mount)
}

func (m *cutter) stumble(ctx context.Context, after time.Duration) error {
	p, err := spawn.Start(m.bin, m.data, fileDoors, m.env)
	if err != nil {
		return err
	}
	m.p = p
	wait(ctx, after)
	return m.strike(ctx)
}

// unmount also works for a file system that was shut down.
func (m *cutter) unmount() error {
	if err := syscall.Unmount(m.mount, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", m.mount, err)
	}
	return nil
}

// shutDown has a file system forget what it has not written, its log too
// (FS_IOC_SHUTDOWN with FS_SHUTDOWN_FLAGS_NOLOGFLUSH).
func shutDown(mount string) error {
	const (
		ioctlShutdown = 0x8004587d // _IOR('X', 125, __u32)
		noLogFlush    = 2
	)
	f, err := os.Open(mount)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), ioctlShutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("shut down %s: %w", mount, errno)
	}
	runtime.KeepAlive(&flags)
	return nil
}

// inNamespace marks a process that has its mounts to itself.
const inNamespace = "MEMSTORE_CRASH_NAMESPACE"

// errCannotCut says that there were no power cuts, and the error around it why.
// exitCannotCut says so from one process to another.
var errCannotCut = errors.New("no power was cut")

const exitCannotCut = 3

// alone has this same program do all of this in a mount namespace of its own,
// so that whatever becomes of it no mount is left behind. It reports whether
// this is that process already.
func alone(ctx context.Context, args []string, log io.Writer) (bool, error) {
	if os.Getenv(inNamespace) != "" {
		// What is mounted from here on is seen by nobody else.
		return true, syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	}
	if os.Getuid() != 0 {
		return false, fmt.Errorf("%w: it takes root to mount file systems", errCannotCut)
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM, Setpgid: true}
	err = cmd.Run()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.ExitCode() == exitCannotCut {
		return false, fmt.Errorf("%w: see above", errCannotCut)
	}
	return false, err
}

// withCutter runs f with a new store on a new file system.
func withCutter(ctx context.Context, o options, system string, env []string, f func(*cutter) error) error {
	dir, err := os.MkdirTemp(o.dir, "memstore-powercut-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m, err := newCutter(ctx, dir, system, o.bin, env)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errCannotCut, err)
	}
	if err != nil {
		return err
	}
	defer func() {
		m.killer.strike(ctx)
		m.unmount()
	}()
	return f(m)
}

// powercuts cuts the power of each file system so many times, and of servers
// that do not sync until they are caught.
func powercuts(ctx context.Context, o options) error {
	if o.dir == "" {
		// Where there is memory to be had as a disk, cuts are quick.
		if in, err := os.Stat("/dev/shm"); err == nil && in.IsDir() {
			o.dir = "/dev/shm"
		}
	}
	for _, system := range o.systems {
		for _, sync := range []string{"none", "files"} {
			if err := control(ctx, o, system, sync); err != nil {
				return err
			}
		}
		err := withCutter(ctx, o, system, nil, func(m *cutter) error {
			c := newCampaign(m, o.writers, o.seed, o.log)
			c.floods = 10
			begun := time.Now()
			if err := c.run(ctx, o.n); err != nil {
				return fmt.Errorf("%s: %w", system, err)
			}
			fmt.Fprintf(o.log, "powercut: %s: %d cuts in %s, %d changes acknowledged, 0 lost, 0 torn, %d unanswered\n",
				system, c.blows, time.Since(begun).Round(time.Second), c.acked, c.unanswered)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// control cuts the power of a server that syncs less than it should, and fails
// if that does no harm.
func control(ctx context.Context, o options, system, sync string) error {
	const most = 20
	for i := range most {
		err := withCutter(ctx, o, system, []string{"MEMSTORE_DISK_SYNC=" + sync}, func(m *cutter) error {
			c := newCampaign(m, o.writers, o.seed+uint64(i), io.Discard)
			if sync == "files" {
				c.floods = 1
			}
			return c.run(ctx, 1)
		})
		var harm findings
		if errors.As(err, &harm) {
			fmt.Fprintf(o.log, "powercut: %s: control: with sync %s cut %d did harm, as it must: %s, as %.200s\n", system, sync, i+1, harm.summary(), harm[0])
			return nil
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("powercut: %s: control: with sync %s nothing was lost in %d cuts: the run proves nothing", system, sync, most)
}
