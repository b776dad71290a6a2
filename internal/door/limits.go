package door

import (
	"cmp"
	"time"
)

// Limit is n, or its default if it is zero; a negative n is no limit at all.
func Limit(n, standard int) int {
	switch {
	case n == 0:
		return standard
	case n < 0:
		return 1<<31 - 1
	}
	return n
}

// Span is d, or its default if it is zero, or fifty years if it is negative.
func Span(d, standard time.Duration) time.Duration {
	if d < 0 {
		return 50 * 365 * 24 * time.Hour
	}
	return cmp.Or(d, standard)
}
