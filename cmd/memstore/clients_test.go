package main

import (
	"fmt"
	"os/exec"
	"testing"
)

// TestClients runs the scripts in testdata/clients: programs that people keep
// their things with, each through a whole round and with each login that it
// knows, until nothing of it is left. .ci/interop-swift runs the suites that
// such programs bring along.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: a matter of minutes, and -short is set")
	}
	runTrips(t, "testdata/clients")
}

// condition tells scripts what is installed that is no program.
func condition(name string) (bool, error) {
	switch name {
	case "libcloud": // for Debian's Python, for which it is packaged
		return exec.Command("/usr/bin/python3", "-c", "import libcloud").Run() == nil, nil
	}
	return false, fmt.Errorf("no condition is called %q", name)
}
