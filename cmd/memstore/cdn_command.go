package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/storage"
)

func refOf(p storage.Path) cdn.Ref { return cdn.Ref{Account: p.Account, Container: p.Container} }

func cdnCommand() *cobra.Command {
	cmd := group("cdn", "Look at what the CDN serves, and purge or warm it")
	cmd.Long = `Cdn asks the server that runs on the data directory. Paths are written
ACCOUNT/CONTAINER or ACCOUNT/CONTAINER/OBJECT.

Nobody has to purge what was changed: edges hear of each change by themselves.`
	cmd.Example = "  memstore cdn status demo/site\n  memstore cdn purge demo/site/index.html"
	cmd.AddCommand(cdnStatusCommand(), cdnPurgeCommand(), cdnWarmCommand())
	return cmd
}

// cdnPath reads a path as the CDN's commands take it.
func cdnPath(text string) (url.Values, error) {
	account, rest, _ := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	container, object, _ := strings.Cut(rest, "/")
	if account == "" || container == "" {
		return nil, usage(fmt.Errorf("%q is not a path such as demo/site or demo/site/index.html", text))
	}
	if !strings.HasPrefix(account, auth.Prefix) {
		account = auth.StorageAccount(account)
	}
	return url.Values{"account": {account}, "container": {container}, "object": {object}}, nil
}

func cdnStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [ACCOUNT/CONTAINER]",
		Short: "Tell what the edge holds, and where a container is to be had",
		Example: "  memstore cdn status\n  memstore cdn status demo/site\n" +
			"  memstore cdn status --json",
		Args: arguments("[ACCOUNT/CONTAINER]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			q := url.Values{}
			if len(args) > 0 {
				if q, err = cdnPath(args[0]); err != nil {
					return err
				}
			}
			var s cdnStatus
			if err := askCDN(cmd.Context(), "GET", l.Data, "cdn", q, &s); err != nil {
				return err
			}
			t := table{head: []string{"WHAT", "IS"}}
			t.add("domain", s.Domain)
			if s.Edge != "" {
				t.add("edge", s.Edge)
			}
			if h := s.Held; h != nil {
				t.add("in memory", fmt.Sprintf("%d entries, %s of %s", h.MemoryEntries, Size(h.MemoryBytes).Round(), Size(h.MemoryBudget).Round()))
				t.add("on disk", fmt.Sprintf("%d entries, %s of %s", h.DiskEntries, Size(h.DiskBytes).Round(), Size(h.DiskBudget).Round()))
				t.add("looked up", fmt.Sprintf("%d found in memory, %d on disk, %d not", h.MemoryHits, h.DiskHits, h.Misses))
			}
			u := &s.Today
			t.add("today", fmt.Sprintf("%d requests, %v to browsers, %v from the origin", u.Requests, Size(u.Bytes), Size(u.OriginBytes)))
			t.add("hits", fmt.Sprintf("%.1f %%: %d fresh, %d stale, %d waited for others, %d still good; %d fetched, %d refused",
				100*u.HitRatio(), u.Hits, u.Stale, u.Collapsed, u.Revalidated, u.Misses, u.Refused))
			t.add("answers", fmt.Sprintf("%d 2xx, %d 3xx, %d 4xx, %d 5xx", u.Status[2], u.Status[3], u.Status[4], u.Status[5]))
			if c := s.Site; c != nil {
				state := "no"
				if c.Public {
					state = "for " + strings.Join(c.Readers, ", ")
				}
				t.add("public", state)
				t.add("kept for", fmt.Sprintf("%d s", c.TTL))
				t.add("URL", c.URL)
				t.add("URL of one label", c.SingleURL)
				for _, d := range c.Domains {
					t.add("domain of its own", d)
				}
			}
			return t.print(cmd)
		},
	}
	cmd.Flags().Bool("json", false, "print JSON")
	return cmd
}

func cdnPurgeCommand() *cobra.Command {
	var hard, prefix bool
	cmd := &cobra.Command{
		Use:   "purge ACCOUNT/CONTAINER[/OBJECT]",
		Short: "Have all edges ask again for what they hold",
		Long: `Purge has all edges ask again before they serve what they hold of an object, of all
whose names begin so (--prefix), or of a container. With --hard they forget it.

Edges that are cut off hear of it when they are back.`,
		Example: "  memstore cdn purge demo/site/index.html\n  memstore cdn purge --prefix demo/site/img/\n  memstore cdn purge --hard demo/site",
		Args:    arguments("ACCOUNT/CONTAINER[/OBJECT]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			q, err := cdnPath(args[0])
			if err != nil {
				return err
			}
			if hard {
				q.Set("hard", "1")
			}
			if prefix && q.Get("object") != "" {
				q.Set("tree", "1")
			}
			var c cdnCount
			if err := askCDN(cmd.Context(), "POST", l.Data, "cdn/purge", q, &c); err != nil {
				return err
			}
			return say(cmd, "%s is purged", args[0])
		},
	}
	cmd.Flags().BoolVar(&hard, "hard", false, "forget what is held, rather than ask whether it is still good")
	cmd.Flags().BoolVar(&prefix, "prefix", false, "purge all objects whose names begin so")
	return cmd
}

func cdnWarmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "warm ACCOUNT/CONTAINER[/PREFIX]",
		Short: "Have the server's edge fetch objects before anybody asks",
		Long: `Warm has the edge in the server fetch the objects of a public container, or those
whose names begin with a prefix. What does not fit leaves again.`,
		Example: "  memstore cdn warm demo/site/img/",
		Args:    arguments("ACCOUNT/CONTAINER[/PREFIX]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			q, err := cdnPath(args[0])
			if err != nil {
				return err
			}
			var c cdnCount
			if err := askCDN(cmd.Context(), "POST", l.Data, "cdn/warm", q, &c); err != nil {
				return err
			}
			if c.Failed > 0 {
				return fmt.Errorf("%d objects could not be fetched; %d were", c.Failed, c.Objects)
			}
			return say(cmd, "%d objects of %d bytes are at the edge", c.Objects, c.Bytes)
		},
	}
}
