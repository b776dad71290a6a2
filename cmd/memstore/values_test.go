package main

import "testing"

func TestSizeRound(t *testing.T) {
	for size, want := range map[Size]string{0: "0B", 1023: "1023B", 1024: "1KiB", 527252: "514.9KiB", 132100 << 10: "129MiB", 4 << 30: "4GiB"} {
		if got := size.Round(); got != want {
			t.Errorf("Size(%d).Round() = %q, want %q", int64(size), got, want)
		}
	}
}
