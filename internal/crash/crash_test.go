package main

import (
	"errors"
	"os"
	"testing"
)

// TestMain lets this program be the one that power cuts are made in, which has
// a mount namespace of its own.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The long forms of these are "make crash" and "make powercut".

func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("kills servers")
	}
	if err := run(t.Context(), []string{"kill", "-n", "15", "-dir", t.TempDir()}, t.Output()); err != nil {
		t.Fatal(err)
	}
}

func TestPowercut(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts the power of file systems")
	}
	err := run(t.Context(), []string{"powercut", "-n", "5"}, t.Output())
	if errors.Is(err, errCannotCut) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
