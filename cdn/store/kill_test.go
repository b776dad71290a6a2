package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// victimDir makes this binary the process that TestSIGKILL kills.
const victimDir = "MEMSTORE_STORE_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
	}
	goleak.VerifyTestMain(m)
}

func victimOptions(dir string) Options {
	return Options{Dir: dir, Disk: 24 << 20, Memory: 512 << 10, MaxMemoryEntry: 8 << 10, Log: quiet()}
}

const (
	victimWriters = 4
	victimKeys    = 16 // of each writer
)

// victim puts, changes and removes entries until it is killed, and tells on
// standard output what it is about to do and what has been done. A body begins
// with its version, which its head repeats.
func victim(dir string) {
	s, err := Open(victimOptions(dir))
	if err != nil {
		panic(err)
	}
	var version struct {
		sync.Mutex
		n uint64
	}
	if b, err := s.Note("version"); err == nil {
		version.n = binary.LittleEndian.Uint64(b)
	}
	version.n += 1 << 32 // those of an earlier life are all smaller
	s.SaveNote("version", binary.LittleEndian.AppendUint64(nil, version.n))
	next := func() uint64 {
		version.Lock()
		defer version.Unlock()
		version.n++
		return version.n
	}
	for w := range victimWriters {
		go func() {
			for {
				n := w*victimKeys + rand.IntN(victimKeys)
				k := key(n)
				switch v := next(); rand.IntN(4) {
				case 0:
					fmt.Printf("removing %d %d\n", n, v)
					s.Remove(k)
					fmt.Printf("removed %d %d\n", n, v)
				default:
					size := rand.IntN(6000)
					if rand.IntN(4) == 0 {
						size = rand.IntN(400_000)
					}
					fmt.Printf("putting %d %d\n", n, v)
					switch err := fillIn(s, k, fmt.Append(nil, v), content(v, size), rand.IntN(2) == 0); {
					case err == nil:
						fmt.Printf("put %d %d\n", n, v)
					case errors.Is(err, ErrNotKept): // then nor is what was there before
						fmt.Printf("removed %d %d\n", n, v)
					default:
						panic(err)
					}
					if e := s.Get(k); e != nil {
						e.Release()
					}
				}
				if rand.IntN(500) == 0 {
					s.disk.save()
				}
			}
		}()
	}
	select {}
}

// A process killed at any moment leaves a store in which nothing is other than
// it was put, nothing is older than what had replaced it, and nothing is that
// was removed.
func TestSIGKILL(t *testing.T) {
	dir := t.TempDir()
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	last := make(map[int]uint64)     // version of the last change that was acknowledged
	removed := make(map[int]bool)    // which was a removal
	begun := make(map[uint64]string) // changes that were begun, by version
	found, younger := 0, 0
	for range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		if _, err := lines.Peek(1); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(20+rand.IntN(250))*time.Millisecond, func() { cmd.Process.Kill() })
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			var what string
			var n int
			var v uint64
			if _, err := fmt.Sscanf(line, "%s %d %d", &what, &n, &v); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			switch what {
			case "put", "removed":
				last[n], removed[n] = v, what == "removed"
			default:
				begun[v] = strings.TrimSpace(line)
			}
		}
		timer.Stop()
		cmd.Wait()

		s, err := Open(victimOptions(dir))
		if err != nil {
			t.Fatal(err)
		}
		for n := range victimWriters * victimKeys {
			e := s.Get(key(n))
			if e == nil {
				continue
			}
			found++
			var v uint64
			fmt.Sscan(string(e.Head()), &v)
			body, err := readAll(e, 0, -1)
			e.Release()
			switch {
			case err != nil:
				t.Errorf("key %d: %v", n, err)
			case !bytes.Equal(body, content(v, len(body))):
				t.Errorf("key %d has other bytes than version %d", n, v)
			case v < last[n], v == last[n] && removed[n]:
				t.Errorf("key %d has version %d; the last change was %d, removal %v", n, v, last[n], removed[n])
			case v > last[n]:
				younger++
				if begun[v] != fmt.Sprintf("putting %d %d", n, v) {
					t.Errorf("key %d has version %d, which nobody put there", n, v)
				}
				last[n], removed[n] = v, false
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if found < rounds*victimKeys {
		t.Errorf("%d entries found after %d kills: there is nothing to judge by", found, rounds)
	}
	t.Logf("%d entries found after %d kills, %d of changes not acknowledged yet", found, rounds, younger)
}
