package ftp

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"memstore.dev/memstore/internal/door"
)

// A verb is what the server knows of one command.
type verb struct {
	run      func(c *session, cmd command)
	open     bool // to those who have not logged in
	argument bool // it must have one
	data     bool // it needs a data connection
}

var verbs map[string]verb

// unheard are commands that exist and are not offered.
var unheard = []string{
	"ACCT", "ADAT", "CCC", "COMB", "CONF", "CSID", "DSIZ", "ENC", "EPRT", "HOST", "LANG", "LPRT", "LPSV", "MFCT", "MFF", "MIC",
	"PORT", "RANG", "REIN", "RMDA", "SMNT", "SPSV", "THMB", "XRCP", "XRSQ", "XSEM", "XSEN",
}

func init() {
	// The library has these, and has them right.
	relay := func(c *session, cmd command) {
		line := cmd.verb
		if cmd.arg != "" {
			line += " " + cmd.arg
		}
		c.pass(cmd, line, false, nil)
	}
	transfer := func(c *session, cmd command) { c.pass(cmd, cmd.verb+" "+cmd.arg, true, nil) }
	as := func(verb string) func(*session, command) {
		return func(c *session, cmd command) { cmd.verb = verb; relay(c, cmd) }
	}
	say := func(code int, text string) func(*session, command) {
		return func(c *session, _ command) { c.reply(code, text) }
	}
	verbs = map[string]verb{
		"AUTH": {run: (*session).auth, open: true, argument: true},
		"PBSZ": {run: say(200, "PBSZ=0"), open: true},
		"PROT": {run: (*session).protect, open: true, argument: true},
		"USER": {run: (*session).userName, open: true, argument: true},
		"PASS": {run: (*session).password, open: true},
		"QUIT": {run: (*session).quit, open: true},
		"NOOP": {run: say(200, "OK"), open: true},
		"SYST": {run: say(215, "UNIX Type: L8"), open: true},
		"FEAT": {run: (*session).features, open: true},
		"OPTS": {run: (*session).options, open: true, argument: true},
		"CLNT": {run: (*session).introduce, open: true},
		"HELP": {run: (*session).help, open: true},

		"CWD":  {run: (*session).changeDir, argument: true},
		"XCWD": {run: (*session).changeDir, argument: true},
		"CDUP": {run: as("CDUP")},
		"XCUP": {run: as("CDUP")},
		"PWD":  {run: as("PWD")},
		"XPWD": {run: as("PWD")},
		"MKD":  {run: relay, argument: true},
		"XMKD": {run: as("MKD"), argument: true},
		"RMD":  {run: relay, argument: true},
		"XRMD": {run: as("RMD"), argument: true},
		"DELE": {run: relay, argument: true},
		"RNFR": {run: relay, argument: true},
		"RNTO": {run: relay, argument: true},
		"SIZE": {run: relay, argument: true},
		"MDTM": {run: (*session).modified, argument: true},
		"MFMT": {run: relay, argument: true},
		"MLST": {run: (*session).describeFile},
		"STAT": {run: (*session).stat},
		"SITE": {run: (*session).site, argument: true},
		"AVBL": {run: (*session).available},

		"TYPE": {run: relay, argument: true},
		"MODE": {run: only("S", "stream"), argument: true},
		"STRU": {run: only("F", "file"), argument: true},
		"ALLO": {run: (*session).allocate, argument: true},
		"REST": {run: (*session).restart, argument: true},
		"PASV": {run: (*session).passive},
		"EPSV": {run: (*session).extendedPassive},
		"ABOR": {run: say(226, "there is nothing to abort")},

		"RETR": {run: transfer, argument: true, data: true},
		"STOR": {run: transfer, argument: true, data: true},
		"APPE": {run: transfer, argument: true, data: true},
		"STOU": {run: (*session).storeUnique, data: true},
		"LIST": {run: (*session).listDir, data: true},
		"NLST": {run: (*session).listDir, data: true},
		"MLSD": {run: (*session).listDir, data: true},

		"HASH": {run: (*session).hash, argument: true},
		"MD5":  {run: (*session).hash, argument: true},
	}
	for name := range hashVerbs {
		verbs[name] = verb{run: (*session).hash, argument: true}
	}
}

// act carries out a command when nothing else is under way.
func (c *session) act(cmd command) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
			c.refuse(errInternal)
		}
	}()
	if cmd.verb == "AUTH" {
		defer func() { // whatever comes of it, the reader waits for this
			select {
			case c.resume <- c.conn:
			case <-c.gone:
			}
		}()
	}
	if c.lib == nil {
		if c.said++; c.said > door.Limit(c.srv.MaxLoginCommands, 30) {
			c.Cut("too many commands without a login")
			return
		}
	}
	v, ok := verbs[cmd.verb]
	switch {
	case cmd.bad != nil:
		c.refuse(cmd.bad)
	case !ok && slices.Contains(unheard, cmd.verb):
		c.reply(502, cmd.verb+" is not offered")
	case !ok:
		c.reply(500, "unknown command")
	case c.lib == nil && !v.open:
		c.reply(530, "log in with USER and PASS")
	case v.argument && cmd.arg == "":
		c.reply(501, cmd.verb+" needs an argument")
	case v.data && !c.private && c.srv.RequireTLS == RequireAlways:
		c.reply(521, "data connections must be private: PROT P comes first")
	case v.data && !c.armed:
		c.refuse(errPassive)
	default:
		v.run(c, cmd)
	}
}

func (c *session) quit(command) {
	c.reply(221, "goodbye")
	c.Cut("connection closed")
}

func (c *session) introduce(cmd command) {
	if c.lib == nil {
		c.client = printable(cmd.arg[:min(len(cmd.arg), 200)])
	}
	c.reply(200, "noted")
}

func (c *session) help(command) {
	names := slices.Sorted(maps.Keys(verbs))
	var lines []string
	for part := range slices.Chunk(names, 12) {
		lines = append(lines, strings.Join(part, " "))
	}
	c.details(214, "commands that are understood:", lines, "end")
}

// features is what clients choose their way by.
func (c *session) features(command) {
	list := []string{"CLNT", "EPSV", "HASH SHA-256" + c.hashMark("SHA-256") + ";SHA-512" + c.hashMark("SHA-512") +
		";SHA-1" + c.hashMark("SHA-1") + ";MD5" + c.hashMark("MD5") + ";CRC32" + c.hashMark("CRC32"),
		"MD5", "MDTM", "MFMT", "MLST " + c.facts.String(), "REST STREAM", "SIZE", "TVFS", "UTF8"}
	for name := range hashVerbs {
		list = append(list, name)
	}
	if c.srv.TLS != nil {
		list = append(list, "AUTH TLS", "PBSZ", "PROT")
	}
	if _, ok := c.login.Fs.(SpaceReporter); ok {
		list = append(list, "AVBL")
	}
	slices.Sort(list)
	c.details(211, "features:", list, "end")
}

func (c *session) hashMark(name string) string {
	if c.hashName() == name {
		return "*"
	}
	return ""
}

func (c *session) options(cmd command) {
	what, value, _ := strings.Cut(cmd.arg, " ")
	switch strings.ToUpper(what) {
	case "UTF8", "UTF-8":
		if strings.EqualFold(value, "OFF") {
			c.reply(504, "names are always in UTF-8")
			return
		}
		c.reply(200, "names are in UTF-8")
	case "MLST":
		c.facts = parseFacts(value)
		c.reply(200, strings.TrimSuffix("MLST OPTS "+c.facts.chosen(), " "))
	case "HASH":
		if value != "" && !c.chooseHash(value) {
			c.reply(501, "no such algorithm")
			return
		}
		c.reply(200, c.hashName())
	default:
		c.reply(501, "there is no such option")
	}
}

// only answers a choice of which one thing is offered.
func only(value, name string) func(*session, command) {
	return func(c *session, cmd command) {
		if !strings.EqualFold(cmd.arg, value) {
			c.reply(504, "only "+name+" is offered")
			return
		}
		c.reply(200, name)
	}
}

// path is what a client means by name.
func (c *session) path(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(c.lib.context.Path(), name)
}

func (c *session) changeDir(cmd command) {
	if cmd.arg == "~" { // everybody's home
		cmd.arg = "/"
	}
	c.pass(cmd, "CWD "+cmd.arg, false, nil)
}

// modified answers MDTM, which for some clients also sets what it asks for.
func (c *session) modified(cmd command) {
	when, name, ok := strings.Cut(cmd.arg, " ")
	if ok && name != "" && isTime(when) {
		if _, err := c.login.Fs.Stat(c.path(cmd.arg)); err != nil {
			c.pass(cmd, "MFMT "+cmd.arg, false, nil)
			return
		}
	}
	c.pass(cmd, "MDTM "+cmd.arg, false, nil)
}

const timeFormat = "20060102150405"

func isTime(s string) bool {
	_, err := time.Parse(timeFormat, s)
	return err == nil
}

// restart answers REST.
func (c *session) restart(cmd command) {
	at, err := strconv.ParseInt(cmd.arg, 10, 64)
	if err != nil || at < 0 {
		c.reply(501, "that is no offset")
		return
	}
	c.pass(cmd, fmt.Sprintf("REST %d", at), false, nil)
}

// allocate answers ALLO. What it announces is held against what then arrives:
// in FTP nothing else tells a file that was cut off from one that is whole.
func (c *session) allocate(cmd command) {
	size, _, _ := strings.Cut(cmd.arg, " ") // "R" and a record's size may follow
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 {
		c.reply(501, "that is no size")
		return
	}
	if s, ok := c.login.Fs.(SpaceReporter); ok {
		if _, free, err := s.StatVFS(c.path("")); err == nil && uint64(n) > free {
			no, _ := toRefusal(syscall.EDQUOT)
			c.refuse(no)
			return
		}
	}
	c.announced = n
	c.reply(200, "OK")
}

// available answers AVBL.
func (c *session) available(cmd command) {
	s, ok := c.login.Fs.(SpaceReporter)
	if !ok {
		c.reply(502, "nobody knows")
		return
	}
	_, free, err := s.StatVFS(c.path(cmd.arg))
	if err != nil {
		c.deny(cmd, err)
		return
	}
	c.reply(213, strconv.FormatUint(free, 10))
}

// deny answers a command by what the filesystem says of it.
func (c *session) deny(cmd command, err error) {
	no, known := toRefusal(err)
	if !known {
		c.Log.Error("ftp: request failed", "verb", cmd.verb, "path", cmd.arg, "err", err)
	}
	c.refuse(no)
}

// site answers SITE, of which clients use what follows an upload.
func (c *session) site(cmd command) {
	what, rest, _ := strings.Cut(cmd.arg, " ")
	switch strings.ToUpper(what) {
	case "CHMOD":
		mode, name, _ := strings.Cut(rest, " ")
		bits, err := strconv.ParseUint(mode, 8, 16)
		if err != nil || bits > 0o7777 || name == "" {
			c.reply(501, "SITE CHMOD needs a mode and a name")
			return
		}
		if err := c.login.Fs.Chmod(c.path(name), fileMode(bits)); err != nil {
			c.deny(cmd, err)
			return
		}
		c.reply(200, "OK")
	case "UTIME":
		when, name, ok := utime(rest)
		if !ok {
			c.reply(501, "SITE UTIME needs a time and a name")
			return
		}
		if err := c.login.Fs.Chtimes(c.path(name), when, when); err != nil {
			c.deny(cmd, err)
			return
		}
		c.reply(200, "OK")
	case "HELP":
		c.reply(214, "CHMOD UTIME HELP")
	default:
		c.reply(504, "there is no such SITE command")
	}
}

// utime understands both forms of SITE UTIME: a time and then the name, or the
// name and then the times of access, change and creation, and UTC.
func utime(arg string) (when time.Time, name string, ok bool) {
	if first, rest, _ := strings.Cut(arg, " "); rest != "" {
		for _, format := range []string{timeFormat, "200601021504"} {
			if when, err := time.Parse(format, first); err == nil && len(first) == len(format) {
				return when, rest, true
			}
		}
	}
	words := strings.Split(arg, " ")
	n := len(words)
	if n < 5 || words[n-1] != "UTC" {
		return time.Time{}, "", false
	}
	when, err := time.Parse(timeFormat, words[n-3])
	return when, strings.Join(words[:n-4], " "), err == nil
}

func (c *session) passive(cmd command) {
	if c.extended {
		c.reply(503, "EPSV ALL was said")
		return
	}
	var err error
	if c.publicAddr, err = c.srv.publicAddr(c.ctx, door.AddrOf(c.Remote), c.Conn.LocalAddr()); err != nil {
		c.Log.Warn("ftp: PASV", "err", err)
		c.reply(425, "there is no IPv4 address to name: use EPSV")
		return
	}
	c.pass(cmd, "PASV", false, c.arm)
}

func (c *session) extendedPassive(cmd command) {
	local := "2"
	if door.AddrOf(c.Conn.LocalAddr()).Is4() {
		local = "1"
	}
	switch {
	case strings.EqualFold(cmd.arg, "ALL"):
		c.extended = true
		c.reply(200, "EPSV it is")
		return
	case cmd.arg != "" && cmd.arg != local:
		c.reply(522, fmt.Sprintf("network protocol not supported, use (%s)", local))
		return
	}
	c.pass(cmd, "EPSV", false, c.arm)
}

// arm notes that a data connection may come, by what PASV was answered.
func (c *session) arm(last reply) { c.armed = last.code < 400 }

// storeUnique answers STOU, by STOR to a name that nothing has.
func (c *session) storeUnique(cmd command) {
	var b [6]byte
	rand.Read(b[:])
	dir, name := path.Split(cmd.arg)
	if name == "" {
		name = "upload"
	}
	cmd.arg = dir + name + "." + hex.EncodeToString(b[:])
	c.fresh = true
	c.pass(cmd, "STOR "+cmd.arg, true, nil)
}
