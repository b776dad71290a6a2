package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func configCommand() *cobra.Command {
	cmd := group("config", "Look at the configuration")
	cmd.Example = "  memstore config check --config memstore.yaml\n  memstore config print"
	check := &cobra.Command{
		Use:     "check",
		Short:   "Say whether the configuration is right, and where it is not",
		Example: "  memstore config check --config memstore.yaml",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			if _, err := l.serverTLS(); err != nil {
				return usage(err)
			}
			tellUnknown(cmd, l)
			from := "no file is read"
			if l.File != "" {
				from = "read from " + l.File
			}
			fmt.Fprintf(cmd.OutOrStdout(), "configuration is right (%s)\n", from)
			return nil
		},
	}
	show := &cobra.Command{
		Use:     "print",
		Short:   "Print every setting and where its value is from, secrets masked",
		Example: "  memstore config print\n  MEMSTORE_DRAIN=1m memstore config print --config memstore.yaml",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			tellUnknown(cmd, l)
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, s := range l.settings() {
				value := s.text()
				if value == "" {
					value = `""`
				}
				fmt.Fprintf(w, "%s:\t%s\t# %s\n", s.name, value, l.Sources[s.name])
			}
			return w.Flush()
		},
	}
	cmd.AddCommand(check, show)
	return cmd
}

// tellUnknown warns of variables that look like settings, beside what the
// command prints.
func tellUnknown(cmd *cobra.Command, l *Loaded) {
	for _, name := range l.Unknown {
		fmt.Fprintf(cmd.ErrOrStderr(), "memstore: %s is not a setting of this version, and ignored\n", name)
	}
}
