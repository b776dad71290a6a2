package vfs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// metaMtime keeps when a file was last modified, in decimal seconds, as rclone
// and swiftclient do.
const metaMtime = "X-Object-Meta-Mtime"

// formatMtime is "1700000000.5", with as many digits as it takes.
func formatMtime(t time.Time) string {
	sec, nsec, minus := t.Unix(), int64(t.Nanosecond()), ""
	if sec < 0 {
		// The fraction of a Unix time counts forward, that of a number away
		// from zero.
		minus, sec = "-", -sec
		if nsec > 0 {
			sec, nsec = sec-1, 1e9-nsec
		}
	}
	if nsec == 0 {
		return minus + strconv.FormatInt(sec, 10)
	}
	return minus + strings.TrimRight(fmt.Sprintf("%d.%09d", sec, nsec), "0")
}

// parseMtime reads what formatMtime or another client wrote. What is finer than
// a nanosecond is dropped.
func parseMtime(s string) (time.Time, bool) {
	number, minus := strings.CutPrefix(s, "-")
	whole, fraction, _ := strings.Cut(number, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || whole[0] == '+' || whole[0] == '-' || sec > 1<<40 {
		return time.Time{}, false
	}
	var nsec int64
	if fraction != "" {
		digits := (fraction + "000000000")[:9]
		if strings.Trim(fraction, "0123456789") != "" {
			return time.Time{}, false
		}
		nsec, _ = strconv.ParseInt(digits, 10, 64)
	}
	if minus {
		sec, nsec = -sec, -nsec
	}
	return time.Unix(sec, nsec), true
}
