package auth

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func bcrypted(t *testing.T, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	must(t, err)
	return string(hash)
}

// TestBcryptIsReplaced imports a user, who is to be the same afterwards, but
// with a hash of ours.
func TestBcryptIsReplaced(t *testing.T) {
	path := dbPath(t)
	r := open(t, path, Options{})
	must(t, r.ImportUser(t.Context(), User{Name: "ann:tester"}, bcrypted(t, "sesame", bcrypt.MinCost)))
	if _, err := login(t, r, "ann:tester", "wrong"); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("Password = %v, want fs.ErrPermission", err)
	}
	if hash := r.member("ann:tester").stored(); !strings.HasPrefix(hash, "$2") {
		t.Errorf("after a wrong password the hash is %q", hash)
	}
	id, err := login(t, r, "ann:tester", "sesame")
	must(t, err)
	if hash := r.member("ann:tester").stored(); !strings.HasPrefix(hash, usualPrefix) || !compare(hash, "sesame") {
		t.Errorf("after a right password the hash is %q", hash)
	}
	if !r.Current(id) {
		t.Error("who logged in is not current any more")
	}
	again := open(t, path, Options{})
	if hash := again.member("ann:tester").hash; !strings.HasPrefix(hash, usualPrefix) {
		t.Errorf("in the database the hash is %q", hash)
	}
	if _, err := login(t, again, "ann:tester", "sesame"); err != nil || !again.Current(id) {
		t.Errorf("Password by the new hash = %v, still current %v", err, again.Current(id))
	}
}

// TestBcryptIsBounded tries passwords that bcrypt cannot tell from the right one.
func TestBcryptIsBounded(t *testing.T) {
	long := strings.Repeat("p", maxBcrypt)
	hash := bcrypted(t, long, bcrypt.MinCost)
	for password, want := range map[string]bool{long: true, long + "x": false, long[1:]: false, "": false, strings.Repeat("p", maxPassword+1): false} {
		if got := compare(hash, password); got != want {
			t.Errorf("compare with %d bytes = %v, want %v", len(password), got, want)
		}
	}
}

// TestKindsOfHashTakeAsLong has users with hashes of all kinds refused, beside
// one who does not exist. Without the padding some take a tenth of what others
// do; a third is what can be told for sure.
func TestKindsOfHashTakeAsLong(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	must(t, r.ImportUser(t.Context(), User{Name: "ann:weak"}, bcrypted(t, "sesame", 6)))
	must(t, r.ImportUser(t.Context(), User{Name: "ann:strong"}, bcrypted(t, "sesame", 12)))
	must(t, r.ImportUser(t.Context(), User{Name: "ann:off", Disabled: true}, bcrypted(t, "sesame", 6)))
	least := map[string]time.Duration{}
	for range 2 {
		for _, try := range [][2]string{{"ann:tester", "wrong"}, {"ann:weak", "wrong"}, {"ann:weak", ""}, {"ann:strong", "wrong"}, {"ann:off", "sesame"}, {"ann:nobody", "wrong"}} {
			start := time.Now()
			if _, err := login(t, r, try[0], try[1]); !errors.Is(err, fs.ErrPermission) {
				t.Fatalf("Password(%s) = %v, want fs.ErrPermission", try[0], err)
			}
			name := try[0] + " " + try[1]
			if took := time.Since(start); least[name] == 0 || took < least[name] {
				least[name] = took
			}
		}
	}
	shortest, longest := time.Hour, time.Duration(0)
	for _, took := range least {
		shortest, longest = min(shortest, took), max(longest, took)
	}
	if shortest < longest/3 {
		t.Errorf("refusals take %v", least)
	}
}
