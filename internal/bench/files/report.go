package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// words say what the cases are.
var words = map[string]string{
	"put": "one file up", "get": "one file down", "many": "several files up at once",
	"up": "small files up", "down": "small files down", "list": "long listing",
}

func (b *bench) report(w io.Writer) {
	fmt.Fprintf(w, "\n%-26s %-5s %-9s %10s %10s %12s %10s\n", "", "", "", "MB/s", "files/s", "seconds", "server CPU")
	for _, what := range b.cases {
		for _, proto := range b.protos {
			for _, t := range b.targets {
				r, ok := b.results[row{what, t.server, t.proto}]
				if !ok || t.proto != proto {
					continue
				}
				volume := ""
				if r.bytes > 0 {
					volume = fmt.Sprintf("%.1f", r.megabytes())
				}
				fmt.Fprintf(w, "%-26s %-5s %-9s %10s %10.1f %12.3f %10.2f\n", words[what], proto, t.server, volume, r.perSecond(), r.took.Seconds(), r.cpu.Seconds())
			}
		}
	}
	fmt.Fprintf(w, "\nMD5 of one stream: %.0f MB/s; writing and syncing a file: %.0f MB/s\n\n", b.md5/1e6, b.disk/1e6)
	b.goals(w)
}

// speed is how fast a line was; 0 if it was not measured.
func (b *bench) speed(what, server, proto string) float64 {
	r, ok := b.results[row{what, server, proto}]
	if !ok {
		return 0
	}
	return r.perSecond()
}

// best is the fastest of the peers.
func (b *bench) best(what string, protos ...string) (speed float64, of string) {
	for _, server := range []string{"sshd", "vsftpd", "proftpd"} {
		for _, proto := range protos {
			if s := b.speed(what, server, proto); s > speed {
				speed, of = s, server
			}
		}
	}
	return speed, of
}

// goals compares with what was set out for.
func (b *bench) goals(w io.Writer) {
	const us = "memstore"
	b.ratio(w, "SFTP get", b.speed("get", us, "sftp"), b.speed("get", "sshd", "sftp"), "OpenSSH's", 1.4)
	b.ratio(w, "SFTP put", b.speed("put", us, "sftp"), b.speed("put", "sshd", "sftp"), "OpenSSH's", 1)
	b.ratio(w, "SFTP get", b.speed("get", us, "sftp"), b.speed("get", "bare", "sftp"), "the ceiling", 0.8)
	// Of the ceiling, no upload that is hashed gets through what MD5 does not.
	ceiling, of := b.speed("put", "bare", "sftp"), "the ceiling"
	if floor := b.md5 / float64(b.size); ceiling > floor {
		ceiling, of = floor, "MD5, which is slower than the ceiling"
	}
	b.ratio(w, "SFTP put", b.speed("put", us, "sftp"), ceiling, of, 0.8)
	b.ratio(w, "FTP get", b.speed("get", us, "ftp"), b.speed("get", "vsftpd", "ftp"), "vsftpd's", 1)
	mine, theirs := b.results[row{"get", us, "ftp"}].cpu, b.results[row{"get", "vsftpd", "ftp"}].cpu
	if mine > 0 && theirs > 0 {
		times := mine.Seconds() / theirs.Seconds()
		fmt.Fprintf(w, "%-28s %5.2f × %-40s goal ≤ %.2f: %s\n", "FTP get, server CPU", times, "vsftpd's", 2.0, b.verdict(times <= 2))
	}
	floor, of := b.md5, "MD5"
	if b.disk < floor {
		floor, of = b.disk, "writing and syncing"
	}
	b.ratio(w, "FTP put", b.speed("put", us, "ftp"), floor/float64(b.size), of, 0.8)
	for _, proto := range []string{"sftp", "ftp", "ftps"} {
		speed, of := b.best("many", proto)
		b.ratio(w, fmt.Sprintf("%d uploads at once by %s", b.workers, strings.ToUpper(proto)), b.speed("many", us, proto), speed, of+"'s, the best peer's", 1)
	}
	for _, proto := range []string{"sftp", "ftp", "ftps"} {
		for _, what := range []string{"up", "down"} {
			speed, of := b.best(what, proto)
			b.ratio(w, words[what]+" by "+strings.ToUpper(proto), b.speed(what, us, proto), speed, of+"'s, the best peer's", 1)
		}
	}
	for _, what := range b.cases {
		for _, proto := range []string{"sftp", "ftp"} {
			if slices.Contains([]string{"up", "down", "list"}, what) && proto == "sftp" {
				continue // by one connection, or by a client that sorts: the Swift door's is no measure for it
			}
			b.ratio(w, words[what]+" by "+strings.ToUpper(proto), b.speed(what, us, proto), b.speed(what, us, "swift"), "our Swift door", 0.6)
		}
	}
}

// ratio prints a goal that is a multiple of something, unless one of the two was
// not measured.
func (b *bench) ratio(w io.Writer, what string, mine, theirs float64, of string, goal float64) {
	if mine == 0 || theirs == 0 {
		return
	}
	times := mine / theirs
	fmt.Fprintf(w, "%-28s %5.2f × %-40s goal ≥ %.2f: %s\n", what, times, of, goal, b.verdict(times >= goal))
}

// verdict says whether a goal is met, unless so little was done that nobody can
// say.
func (b *bench) verdict(met bool) string {
	switch {
	case b.quick:
		return "not judged"
	case met:
		return "met"
	}
	return "MISSED"
}
