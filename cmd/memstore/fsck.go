package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/storage/disk"
)

func fsckCommand() *cobra.Command {
	var o disk.CheckOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Prove that everything in the data directory agrees, while serving too",
		Long: `Fsck proves that rows, blobs, files, reference counts and totals agree, and that
the control database is whole. Beside a running server it reads a snapshot that
the server holds for it; to repair anything the server must be stopped.

It exits with 3 if something is wrong and was not repaired.`,
		Example: "  memstore fsck --data /var/lib/memstore\n  memstore fsck --data /var/lib/memstore --read-data",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			report, err := fsck(cmd, l, o)
			if err != nil {
				return err
			}
			return tell(cmd.OutOrStdout(), l.Data, report, asJSON)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.ReadData, "read-data", false, "read all content and hold it against its checksums")
	f.BoolVar(&o.Repair, "repair", false, "mend what can be derived from the rest")
	f.BoolVar(&o.Salvage, "salvage", false, "make a lost index anew from the footers of files")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func fsck(cmd *cobra.Command, l *Loaded, o disk.CheckOptions) (report disk.Report, err error) {
	ctx := cmd.Context()
	if !o.Salvage { // which may have lost that too
		if err := isData(l.Data); err != nil {
			return report, err
		}
	}
	m := newMeter(cmd.ErrOrStderr(), "fsck", o.ReadData)
	defer m.end()
	o.Progress = m.at
	o.Log = newLogger(cmd.ErrOrStderr(), "text", nil)
	report, err = disk.Check(ctx, l.Data, o)
	if errors.Is(err, disk.ErrLocked) {
		if o.Repair || o.Salvage {
			return report, fmt.Errorf("%s is in use: stop the server to repair anything", l.Data)
		}
		err = withSnapshot(ctx, l.Data, func(snapshot string) (err error) {
			report, err = disk.Check(ctx, snapshot, o)
			return err
		})
	}
	if err != nil {
		return report, err
	}
	if err := checkControl(ctx, l.Data); err != nil {
		return report, exit{exitDamaged, fmt.Errorf("control database: %w", err)}
	}
	return report, nil
}

// tell prints the report, and returns an error if it is not clean.
func tell(w io.Writer, data string, r disk.Report, asJSON bool) error {
	unrepaired := 0
	for _, f := range r.Findings {
		if !f.Repaired {
			unrepaired++
		}
		if !asJSON {
			fmt.Fprintln(w, f)
		}
	}
	verdict := "clean"
	switch {
	case unrepaired > 0:
		verdict = "damaged"
	case len(r.Findings) > 0:
		verdict = "repaired"
	}
	if asJSON {
		findings := make([]string, 0, len(r.Findings))
		for _, f := range r.Findings {
			findings = append(findings, f.String())
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{
			"verdict": verdict, "accounts": r.Accounts, "containers": r.Containers, "objects": r.Objects,
			"blobs": r.Blobs, "bytes": r.Bytes, "leftovers": r.Leftovers, "findings": findings,
		}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "%s: %d accounts, %d containers, %d objects with %d bytes in %d blobs: %s\n",
			data, r.Accounts, r.Containers, r.Objects, r.Bytes, r.Blobs, verdict)
		if r.Leftovers > 0 {
			fmt.Fprintf(w, "%d leftovers of a crash, which the next start removes\n", r.Leftovers)
		}
	}
	if unrepaired > 0 {
		return exit{exitDamaged, fmt.Errorf("%d things are wrong in %s", unrepaired, data)}
	}
	return nil
}
