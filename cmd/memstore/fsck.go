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

It exits with 3 if something is wrong and was not repaired, and says what to do.`,
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
		if !answers(l.Data) {
			return report, inUse(l.Data)
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
			"blobs": r.Blobs, "bytes": r.Bytes, "kept": r.Kept, "kept_bytes": r.KeptBytes,
			"leftovers": r.Leftovers, "spare_segments": r.Spare, "spare_bytes": r.SpareBytes, "findings": findings,
		}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "%s: %s, %s, %s with %s in %s: %s\n", data, count(r.Accounts, "account"), count(r.Containers, "container"),
			count(r.Objects, "object"), count(r.Bytes, "byte"), count(r.Blobs, "blob"), verdict)
		if r.Kept > 0 {
			fmt.Fprintf(w, "%s of %s, kept to be resumed\n", count(r.Kept, "unfinished upload"), count(r.KeptBytes, "byte"))
		}
		if r.Spare > 0 {
			fmt.Fprintf(w, "%s of %s, which no large object is made of\n", count(r.Spare, "segment"), count(r.SpareBytes, "byte"))
		}
		if r.Leftovers > 0 {
			fmt.Fprintf(w, "%s of a crash, to be removed by the next start\n", count(r.Leftovers, "leftover"))
		}
		for _, line := range advice(r.Findings) {
			fmt.Fprintln(w, line)
		}
	}
	if unrepaired > 0 {
		verb := "are"
		if unrepaired == 1 {
			verb = "is"
		}
		return exit{exitDamaged, fmt.Errorf("%s %s wrong in %s", count(int64(unrepaired), "thing"), verb, data)}
	}
	return nil
}

// advice says what to do about what was found and not repaired.
func advice(findings []disk.Finding) (lines []string) {
	var content, derived, foreign, other bool
	for _, f := range findings {
		if f.Repaired {
			continue
		}
		switch f.Kind {
		case disk.KindDamage, disk.KindLostContent:
			content = true
		case disk.KindState, disk.KindTotals, disk.KindExpiry, disk.KindReferences, disk.KindUnusedBlob, disk.KindLostBlob, disk.KindOrphan:
			derived = true
		case disk.KindForeign:
			foreign = true
		default:
			other = true
		}
	}
	if content {
		lines = append(lines, "What is damaged is never sent. Upload those objects again, delete them, or restore a backup",
			"beside this store (memstore restore --data ELSEWHERE BACKUP) and copy them from there.")
	}
	if derived {
		lines = append(lines, "What follows from the rest is mended by memstore fsck --repair, with the server stopped.")
	}
	if foreign {
		lines = append(lines, "Foreign files are none of Memstore's: move them elsewhere.")
	}
	if other {
		lines = append(lines, "What the index has lost cannot be told from the rest: restore a backup.")
	}
	return lines
}

// count is a number of things, in words that agree with it.
func count(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
