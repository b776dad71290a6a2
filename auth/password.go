package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"memstore.dev/memstore/storage"
)

// The cost of a password hash: argon2id with OWASP's least memory, 19 MiB.
const (
	hashMemory = 19 << 10 // KiB
	hashTime   = 2
	hashLanes  = 1
	hashSalt   = 16
	hashSize   = 32
)

// Bounds of what is hashed, in bytes: ours, and the one of bcrypt.
const (
	maxPassword = 1024
	maxBcrypt   = 72
)

var phc = base64.RawStdEncoding

// HashPassword returns the hash of a password in PHC form, as the control
// database keeps it.
func HashPassword(password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	salt := make([]byte, hashSalt)
	rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashLanes, hashSize)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		hashMemory, hashTime, hashLanes, phc.EncodeToString(salt), phc.EncodeToString(sum)), nil
}

func checkPassword(password string) error {
	switch {
	case password == "":
		return &storage.Refusal{Text: "Password must not be empty"}
	case len(password) > maxPassword:
		return &storage.Refusal{Text: fmt.Sprintf("Password of %d bytes longer than %d", len(password), maxPassword)}
	case strings.ContainsAny(password, "\x00\r\n"):
		return &storage.Refusal{Text: "Password must not hold a line break or a NUL"}
	}
	return nil
}

// An argon is a parsed argon2id hash.
type argon struct {
	memory, time uint32
	lanes        uint8
	salt, sum    []byte
}

var errHash = errors.New("not an argon2id or bcrypt hash that can be checked")

// parseArgon reads a hash in PHC form. Costs are bounded, so that an imported
// hash cannot exhaust the machine that checks it.
func parseArgon(hash string) (a argon, err error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return a, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &a.memory, &a.time, &a.lanes); err != nil {
		return a, errHash
	}
	a.salt, err = phc.DecodeString(parts[4])
	if err != nil || len(a.salt) < 8 || len(a.salt) > 64 {
		return a, errHash
	}
	a.sum, err = phc.DecodeString(parts[5])
	if err != nil || len(a.sum) < 16 || len(a.sum) > 64 {
		return a, errHash
	}
	if a.memory < 8 || a.memory > 256<<10 || a.time < 1 || a.time > 16 || a.lanes < 1 || a.lanes > 16 {
		return a, errHash
	}
	return a, nil
}

// CheckHash reports whether a hash of a password is one that a user may be
// imported with: argon2id in PHC form, or bcrypt, of a cost that can be borne.
// The error does not repeat it.
func CheckHash(hash string) error { return checkHash(hash) }

// checkHash reports whether a hash is one that compare can judge by.
func checkHash(hash string) error {
	if strings.HasPrefix(hash, "$2") {
		if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost > 14 || len(hash) != 60 {
			return &storage.Refusal{Text: errHash.Error()}
		}
		return nil
	}
	if _, err := parseArgon(hash); err != nil {
		return &storage.Refusal{Text: err.Error()}
	}
	return nil
}

// nobodys is the hash that is compared when there is none to compare with, so
// that an unknown user takes as long as a wrong password.
var nobodys = argon{
	memory: hashMemory, time: hashTime, lanes: hashLanes,
	salt: make([]byte, hashSalt), sum: make([]byte, hashSize),
}

// compare reports whether a password is the one hashed. An empty or unreadable
// hash is nobody's: it takes as long, and no password fits.
func compare(hash, password string) bool {
	if len(password) > maxPassword {
		password = "" // nobody's either
	}
	if strings.HasPrefix(hash, "$2") {
		// bcrypt looks at no more than so many bytes: whoever knows them would
		// be let in whatever follows.
		fits := password != "" && len(password) <= maxBcrypt
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password[:min(len(password), maxBcrypt)])) == nil && fits
	}
	a, err := parseArgon(hash)
	if err != nil {
		a = nobodys
	}
	sum := argon2.IDKey([]byte(password), a.salt, a.time, a.memory, a.lanes, uint32(len(a.sum)))
	same := subtle.ConstantTimeCompare(sum, a.sum) == 1
	return same && err == nil && password != ""
}

// A cost is how much work it takes to compare a password with a hash: bcrypt's
// own number, and for argon2id the memory in KiB times the passes over it.
type cost struct {
	bcrypt int
	argon  uint64
}

// usual is the cost of the hashes that are made here, and of nobody's.
var usual = cost{argon: hashMemory * hashTime}

var usualPrefix = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, hashMemory, hashTime, hashLanes)

func costOf(hash string) cost {
	if strings.HasPrefix(hash, usualPrefix) || hash == "" {
		return usual // nearly all of them, told without a closer look
	}
	if strings.HasPrefix(hash, "$2") {
		n, err := bcrypt.Cost([]byte(hash))
		if err != nil {
			n = 0 // and comparing fails at once
		}
		return cost{bcrypt: n}
	}
	a, err := parseArgon(hash)
	if err != nil {
		a = nobodys
	}
	return cost{argon: uint64(a.memory) * uint64(a.time)}
}

// slowest is the cost of an attempt that fails, whoever it is for: the most that
// any of the users' hashes costs, of either kind.
func slowest(users map[string]*member) cost {
	most := usual
	for _, m := range users {
		c := costOf(m.hash)
		most.bcrypt, most.argon = max(most.bcrypt, c.bcrypt), max(most.argon, c.argon)
	}
	return most
}

// pad does the work that comparing with a hash of cost c leaves of cost to, so
// that the time which a refusal takes does not tell whose hash is of which kind,
// and thereby who exists.
func (c cost) pad(to cost) {
	if c.bcrypt == 0 && to.bcrypt > 0 {
		bcrypt.GenerateFromPassword([]byte("x"), to.bcrypt)
	} else {
		// Each is half of the next, so that these make up for the difference.
		for n := c.bcrypt; n < to.bcrypt; n++ {
			bcrypt.GenerateFromPassword([]byte("x"), n)
		}
	}
	if to.argon > c.argon {
		if passes := (to.argon - c.argon + hashMemory/2) / hashMemory; passes > 0 {
			argon2.IDKey([]byte("x"), nobodys.salt, uint32(passes), hashMemory, hashLanes, hashSize)
		}
	}
}
