package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain lets the program of the tests be the bare server, too.
func TestMain(m *testing.M) {
	if os.Getenv(bareEnv) != "" {
		if err := serveBare(os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Every line is measured, for every server that can run here, and is in the
// report. How fast is not asked.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("starts five servers")
	}
	for _, program := range []string{"sftp", "curl", "lftp", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") == "" {
			t.Skipf("SKIPPED: %s is not installed; run .ci/setup", program)
		}
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"-quick"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	t.Log(out.String())
	for _, what := range cases {
		for _, of := range []string{"sftp  memstore", "sftp  bare", "ftp   memstore", "ftp   bare", "ftps  memstore", "swift memstore"} {
			if want := fmt.Sprintf("%-26s %s", words[what], of); !strings.Contains(out.String(), want) {
				t.Errorf("the report has no line %q", want)
			}
		}
	}
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"-only", "x"}, {"-proto", "x"}, {"-server", "x"}, {"-dir", "/nonexistent"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("run(%q) succeeded", args)
		}
	}
}

// A meter counts a child, also one that nobody waits for before it is asked.
func TestMeter(t *testing.T) {
	cmd := exec.Command("sh", "-c", `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; exec sleep 1000`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	m := startMeter(cmd.Process.Pid)
	deadline := time.Now().Add(time.Minute)
	for name := ""; name != "sleep" && time.Now().Before(deadline); {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		name = strings.TrimSpace(string(b))
	}
	if got := m.total(); got < 50*time.Millisecond {
		t.Errorf("a child that has counted to 300,000 has cost %v", got)
	}
}
