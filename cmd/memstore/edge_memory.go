package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// ballast is how much more the heap of an edge may grow between two rounds of
// the garbage collector than what it holds would let it.
const ballast = 64 << 20

// calmCollector has the garbage collector of an edge come seldom. A small edge
// holds a few megabytes, and each request leaves two kilobytes: by what it holds
// the collector would be called thirty times a second, which costs time, and
// tails of latency most of all. A piece of memory that is never touched, and so
// is not really there, has it wait for as much garbage. Unlike a higher GOGC
// that adds the same whatever is held, and unlike a limit it cannot make the
// collector run all the time. Who sets GOGC or GOMEMLIMIT knows better.
//
// It returns what ends it.
func calmCollector() func() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	held := make([]byte, ballast)
	debug.FreeOSMemory() // the collector learns of it, and pages that were used before go back
	return func() { runtime.KeepAlive(held) }
}
