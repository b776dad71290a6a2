package auth

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var elsewhere = netip.MustParseAddr("198.51.100.9")

// fail has an address fail to log in n times.
func fail(d *Defender, a netip.Addr, n int) {
	for range n {
		d.Fail(a, FailLogin)
	}
}

func TestDefenderBans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDefender(DefenderOptions{})
		fail(d, abroad, 14)
		if d.Banned(abroad) {
			t.Fatal("banned after 14 failures")
		}
		fail(d, abroad, 1)
		if !d.Banned(abroad) {
			t.Fatal("not banned after 15 failures")
		}
		if d.Banned(elsewhere) {
			t.Error("so is another address")
		}
		want := []Ban{{Source: netip.PrefixFrom(abroad, 32), Since: time.Now(), Until: time.Now().Add(30 * time.Minute), Times: 1}}
		if got := d.Bans(); !slices.Equal(got, want) {
			t.Errorf("Bans = %+v, want %+v", got, want)
		}
		time.Sleep(30*time.Minute - 1)
		if !d.Banned(abroad) {
			t.Error("ban ended too early")
		}
		time.Sleep(time.Nanosecond)
		if d.Banned(abroad) || len(d.Bans()) != 0 {
			t.Error("ban did not end")
		}
	})
}

func TestDefenderWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDefender(DefenderOptions{})
		for range 100 { // one in two minutes and a little can go on for ever
			fail(d, abroad, 1)
			time.Sleep(130 * time.Second)
		}
		if d.Banned(abroad) {
			t.Error("banned for failures that are long past")
		}
		for range 15 {
			fail(d, abroad, 1)
			time.Sleep(time.Minute)
		}
		if !d.Banned(abroad) {
			t.Error("not banned for 15 failures in 15 minutes")
		}
	})
}

func TestDefenderBansGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDefender(DefenderOptions{})
		length := func() time.Duration {
			d.Fail(abroad, FailCrash)
			b := d.Bans()[0]
			time.Sleep(time.Until(b.Until))
			return b.Until.Sub(b.Since)
		}
		want := 30 * time.Minute
		for i := range 15 {
			if got := length(); got != want {
				t.Errorf("ban %d lasts %v, want %v", i+1, got, want)
			}
			want = min(want+want/2, 24*time.Hour)
		}
		time.Sleep(24 * time.Hour)
		if got := length(); got != 30*time.Minute {
			t.Errorf("ban after a quiet day lasts %v, want 30m", got)
		}
	})
}

func TestDefenderPoints(t *testing.T) {
	for _, c := range []struct {
		f Failure
		n int // so many ban
	}{{FailLogin, 15}, {FailLimit, 5}, {FailCrash, 1}} {
		d := NewDefender(DefenderOptions{})
		n := 0
		for ; !d.Banned(abroad) && n < 100; n++ {
			d.Fail(abroad, c.f)
		}
		if n != c.n {
			t.Errorf("banned after %d failures of %d points, want %d", n, c.f, c.n)
		}
	}
}

func TestDefenderSources(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		failed, asked string
		banned        bool
	}{
		{"203.0.113.7", "203.0.113.7", true},
		{"203.0.113.7", "::ffff:203.0.113.7", true},
		{"::ffff:203.0.113.7", "203.0.113.7", true},
		{"203.0.113.7", "203.0.113.8", false},
		{"2001:db8::1", "2001:db8::ffff:0:0:1", true}, // of the same /64
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"127.0.0.1", "127.0.0.1", false}, // the allow-list's
		{"127.9.9.9", "127.9.9.9", false},
		{"::1", "::1", false},
		{"::ffff:127.0.0.1", "127.0.0.1", false},
	} {
		d := NewDefender(DefenderOptions{})
		d.Fail(addr(c.failed), FailCrash)
		if got := d.Banned(addr(c.asked)); got != c.banned {
			t.Errorf("after %s failed, Banned(%s) = %v, want %v", c.failed, c.asked, got, c.banned)
		}
	}
	d := NewDefender(DefenderOptions{Allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	d.Fail(abroad, FailCrash)
	d.Fail(home, FailCrash)
	if d.Banned(abroad) || !d.Banned(home) {
		t.Error("an allow-list is not in place of loopback")
	}
	d.Fail(netip.Addr{}, FailCrash)
	if d.Banned(netip.Addr{}) {
		t.Error("no address at all is banned")
	}
}

func TestDefenderLift(t *testing.T) {
	d := NewDefender(DefenderOptions{})
	if d.Lift(abroad) {
		t.Error("a ban was lifted that was none")
	}
	d.Fail(abroad, FailCrash)
	if !d.Lift(abroad) || d.Banned(abroad) {
		t.Error("the ban was not lifted")
	}
	fail(d, abroad, 14)
	if d.Banned(abroad) {
		t.Error("what was lifted still counts")
	}
	d.Fail(abroad, FailLogin)
	if bans := d.Bans(); len(bans) != 1 || bans[0].Times != 1 {
		t.Errorf("Bans = %+v, want a first one", bans)
	}
}

// TestDefenderIsBounded has many sources fail, and many be banned.
func TestDefenderIsBounded(t *testing.T) {
	const most = 64
	d := NewDefender(DefenderOptions{Sources: most})
	source := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range 1000 {
		d.Fail(source(i), FailLogin)
		d.failUser(sha256.Sum256(fmt.Append(nil, i)))
	}
	if n := d.sources.order.Len(); n != most || len(d.sources.items) != most {
		t.Errorf("%d sources in mind, want %d", n, most)
	}
	if n := d.users.order.Len(); n != most {
		t.Errorf("%d users in mind, want %d", n, most)
	}
	for i := range 1000 {
		d.Fail(source(i), FailCrash)
		if !d.Banned(source(i)) {
			t.Fatalf("source %d was not banned", i)
		}
	}
	if n := len(d.bans); n > most {
		t.Errorf("%d bans in mind, want %d at most", n, most)
	}
	// Who fails again and again is not forgotten for those who came once.
	for i := range 10 * most {
		if i%(most/2) == 0 {
			d.Fail(abroad, FailLogin)
		}
		d.Fail(source(2000+i), FailLogin)
	}
	if !d.Banned(abroad) {
		t.Error("a busy guesser was forgotten")
	}
}

func TestDelayGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDefender(DefenderOptions{})
		who := sha256.Sum256([]byte("ann:tester"))
		var got []time.Duration
		for range 12 {
			got = append(got, d.delay(who))
			d.failUser(who)
		}
		const ms = time.Millisecond
		want := []time.Duration{0, 0, 0, 0, 50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 2000 * ms, 2000 * ms}
		if !slices.Equal(got, want) {
			t.Errorf("delays are %v, want %v", got, want)
		}
		for range 1000 {
			d.failUser(who)
		}
		if got := d.delay(who); got != maxDelay {
			t.Errorf("delay after many failures = %v, want %v", got, maxDelay)
		}
		if other := d.delay(sha256.Sum256([]byte("bob:tester"))); other != 0 {
			t.Errorf("delay of another user = %v", other)
		}
		time.Sleep(forgiveness)
		if got := d.delay(who); got != 0 {
			t.Errorf("delay after %v = %v, want none", forgiveness, got)
		}
		d.failUser(who)
		if got := d.delay(who); got != 0 {
			t.Errorf("delay after another failure = %v, want none", got)
		}
	})
}
