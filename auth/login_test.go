package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPasswordsAreRemembered times logins: one that is remembered takes a
// ten-thousandth of one that is hashed; a tenth is what can be told for sure.
func TestPasswordsAreRemembered(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	timed := func() time.Duration {
		start := time.Now()
		if _, err := login(t, r, "ann:tester", "sesame"); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	first, again := timed(), time.Hour
	for range 100 {
		again = min(again, timed())
	}
	if again > first/10 {
		t.Errorf("a login that is remembered takes %v, one that is hashed %v", again, first)
	}
	must(t, r.SetPassword(t.Context(), "ann:tester", "other"))
	if _, err := login(t, r, "ann:tester", "sesame"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Password with the one before = %v, want fs.ErrPermission", err)
	}
	must(t, r.SetPassword(t.Context(), "ann:tester", "sesame"))
	if _, err := login(t, r, "ann:tester", "sesame"); err != nil {
		t.Errorf("Password when it is as it was = %v", err)
	}
}

// TestUnknownUsersTakeAsLong has users refused who exist, do not exist, are
// disabled, have no password or may not come in here. A way past the hash would
// make one of them a thousand times faster; on a busy machine ten times is what
// can be told for sure.
func TestUnknownUsersTakeAsLong(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	addUser(t, r, User{Name: "ann:off", Disabled: true}, "sesame")
	addUser(t, r, User{Name: "ann:keys"}, "")
	addUser(t, r, User{Name: "ann:ftp", Doors: []string{"ftp"}}, "sesame")
	tries := [][2]string{{"ann:tester", "wrong"}, {"ann:nobody", "wrong"}, {"eve", "wrong"}, {"ann:off", "sesame"}, {"ann:keys", ""}, {"ann:ftp", "sesame"}}
	least := make([]time.Duration, len(tries))
	for round := range 3 { // as many as go without a delay
		for i, try := range tries {
			start := time.Now()
			if _, err := login(t, r, try[0], try[1]); !errors.Is(err, fs.ErrPermission) {
				t.Fatalf("Password(%s) = %v, want fs.ErrPermission", try[0], err)
			}
			if took := time.Since(start); round == 0 || took < least[i] {
				least[i] = took
			}
		}
	}
	if slices.Min(least) < slices.Max(least)/10 {
		t.Errorf("refusals take %v, for %q", least, tries)
	}
}

// TestGate fills the gate, and finds that who comes next is refused, and that
// who waits can give up.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		room := g.places
		from := func(i int) netip.Prefix { return source(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})) }
		release := make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		ran, atOnce, most := 0, 0, 0
		count := func(d int) {
			mu.Lock()
			defer mu.Unlock()
			if atOnce += d; d > 0 {
				ran++
			}
			most = max(most, atOnce)
		}
		for i := range room {
			wg.Go(func() {
				err := g.do(t.Context(), from(i), func() {
					count(1)
					<-release
					count(-1)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := g.do(t.Context(), from(room), func() { t.Error("ran beyond what the gate holds") }); !errors.Is(err, ErrBusy) {
			t.Errorf("do of a full gate = %v, want ErrBusy", err)
		}
		close(release)
		wg.Wait()
		if ran != room || most != cap(g.running) {
			t.Errorf("%d ran, %d at once, want %d and %d", ran, most, room, cap(g.running))
		}

		hold := make(chan struct{})
		for i := range cap(g.running) {
			wg.Go(func() { g.do(t.Context(), from(i), func() { <-hold }) })
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.do(ctx, from(room), func() { t.Error("ran though nobody waits for it") }); !errors.Is(err, context.Canceled) {
			t.Errorf("do without patience = %v, want context.Canceled", err)
		}
		close(hold)
		wg.Wait()
	})
}

// TestGateIsShared has one source take all the places it can get, and others
// find theirs.
func TestGateIsShared(t *testing.T) {
	g := newGate()
	from := func(i int) netip.Prefix { return source(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})) }
	for i := range 5 {
		took := 0
		for g.enter(from(i)) {
			took++
		}
		if took == 0 || i == 0 && took > g.places/2 {
			t.Errorf("source %d took %d of %d places", i, took, g.places)
		}
		defer func() {
			for range took {
				g.leave(from(i))
			}
			if i == 0 && (g.taken != 0 || len(g.by) != 0) {
				t.Errorf("%d places are taken when all have left, by %v", g.taken, g.by)
			}
		}()
	}
}

// TestGuessingAtOnce has one address guess as fast as it can, at many users so
// that none of them is slowed down, until it is banned.
func TestGuessingAtOnce(t *testing.T) {
	r := open(t, dbPath(t), Options{Defender: DefenderOptions{Limit: 6}})
	var looked, next atomic.Int32
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for {
				user := fmt.Sprintf("ann:u%d", next.Add(1))
				switch _, err := r.Password(t.Context(), Attempt{User: user, From: abroad, Door: "swift"}, "guess"); {
				case errors.Is(err, fs.ErrPermission):
					looked.Add(1)
				case errors.Is(err, ErrBanned):
					return
				case !errors.Is(err, ErrBusy):
					t.Errorf("Password = %v", err)
					return
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	if n := looked.Load(); n != 6 {
		t.Errorf("%d guesses were looked at, want 6", n)
	}
	if n := len(r.defender.trying); n != 0 {
		t.Errorf("%d sources are said to be trying when nobody is", n)
	}
}

// TestBanIsSeenByThoseWhoWait has an address banned while an attempt of it waits.
func TestBanIsSeenByThoseWhoWait(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	for range cap(r.gate.running) {
		r.gate.running <- struct{}{}
	}
	done := make(chan error)
	go func() {
		_, err := r.Password(t.Context(), Attempt{User: "ann:tester", From: abroad, Door: "swift"}, "sesame")
		done <- err
	}()
	for taken := 0; taken == 0; runtime.Gosched() {
		r.gate.mu.Lock()
		taken = r.gate.taken
		r.gate.mu.Unlock()
	}
	r.defender.Fail(abroad, FailCrash)
	for range cap(r.gate.running) {
		<-r.gate.running
	}
	if err := <-done; !errors.Is(err, ErrBanned) {
		t.Errorf("Password = %v, want ErrBanned", err)
	}
}

// TestDelayIsWaited has a login of a user who was guessed at wait, unless its
// client gives up.
func TestDelayIsWaited(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	for range 50 {
		r.defender.failUser(userKey("ann:tester"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Password(ctx, Attempt{User: "ann.tester", From: home}, "sesame"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Password = %v, want context.DeadlineExceeded", err)
	}
}

func TestFullName(t *testing.T) {
	for typed, want := range map[string]string{
		"ann:tester": "ann:tester", "ann.tester": "ann:tester", "ann/tester": "ann:tester",
		"ann.j.smith": "ann:j.smith", "ann:j.smith": "ann:j.smith", "ann/j.smith": "ann:j.smith",
		"a.b:c": "a.b:c", "a.b/c": "a.b:c", "a/b:c": "a/b:c",
		"ann": "ann", "": "", ":": ":", ".": ":", "ann:": "ann:",
	} {
		if got := FullName(typed); got != want {
			t.Errorf("FullName(%q) = %q, want %q", typed, got, want)
		}
	}
}

// FuzzVerify has a token be anything, and any changed token of ours.
func FuzzVerify(f *testing.F) {
	r, err := Open(f.Context(), f.TempDir()+"/control.db", Options{Poll: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { r.Close() })
	if err := r.AddUser(f.Context(), User{Name: "ann:tester"}, "sesame"); err != nil {
		f.Fatal(err)
	}
	id, err := r.Password(f.Context(), Attempt{User: "ann:tester"}, "sesame")
	if err != nil {
		f.Fatal(err)
	}
	good, err := r.Issue(f.Context(), id)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("", 0, byte(0))
	f.Add("AUTH_tk", 3, byte(1))
	f.Add("AUTH_tkabc.def", -1, byte(0))
	f.Fuzz(func(t *testing.T, text string, i int, b byte) {
		if _, _, err := r.Verify(t.Context(), text); text != good.Secret && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Verify(%q) = %v, want fs.ErrPermission", text, err)
		}
		changed := []byte(good.Secret)
		at := int(uint(i) % uint(len(changed)))
		changed[at] ^= b
		id, _, err := r.Verify(t.Context(), string(changed))
		switch {
		case err == nil && id.User == "ann:tester" && (b == 0 || at == len(changed)-1 || changed[at+1] == '.'):
			// Unchanged, or only in bits that base64 leaves over.
		case !errors.Is(err, fs.ErrPermission):
			t.Errorf("Verify with byte %d as %q = %+v, %v", at, changed[at], id, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r, err := Open(b.Context(), b.TempDir()+"/control.db", Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if err := r.AddUser(b.Context(), User{Name: "ann:tester", Role: RoleAdmin}, "sesame"); err != nil {
		b.Fatal(err)
	}
	id, err := r.Password(b.Context(), Attempt{User: "ann:tester"}, "sesame")
	if err != nil {
		b.Fatal(err)
	}
	t, err := r.Issue(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := r.Verify(b.Context(), t.Secret); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("opened", func(b *testing.B) {
		for b.Loop() {
			if _, ok := r.tokens.Load().open(t.Secret); !ok {
				b.Fatal("not opened")
			}
		}
	})
	b.Run("issue", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Issue(b.Context(), id); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("password remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Password(b.Context(), Attempt{User: "ann:tester"}, "sesame"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("password hashed", func(b *testing.B) {
		for b.Loop() {
			compare("", "sesame")
		}
	})
}
