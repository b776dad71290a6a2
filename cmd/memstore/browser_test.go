package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A browser is Debian's chromium without a window, with a home of its own that
// lasts, its cache included.
type browser struct{ home string }

func newBrowser(t *testing.T) *browser {
	t.Helper()
	needProgram(t, "chromium")
	return &browser{t.TempDir()}
}

var pageTitle = regexp.MustCompile(`<title>([^<]*)</title>`)

// visit opens a page, waits until all of it is loaded, and returns the title
// that it has then, or all of what has none. What is no page, but something to
// save, never ends.
func (b *browser) visit(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
		"--ignore-certificate-errors", "--user-data-dir="+filepath.Join(b.home, "profile"), "--dump-dom", url)
	cmd.Env = append(os.Environ(), "HOME="+b.home, "XDG_CONFIG_HOME="+b.home, "XDG_CACHE_HOME="+b.home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // it has children
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var complaints strings.Builder
	cmd.Stderr = &complaints
	dom, err := cmd.Output()
	if err != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		t.Fatalf("chromium: %v at %s\n%s", err, url, &complaints)
	}
	if m := pageTitle.FindSubmatch(dom); m != nil {
		return string(m[1])
	}
	return string(dom)
}

// What the page is made of. Its script tells in the title what has come of all
// the parts, and by which version of HTTP, unless the page is the browser's own.
const (
	browserPage = `<!doctype html><html><head><meta charset="utf-8"><title>nothing</title>
<link rel="stylesheet" href="look.css"></head><body><p id="p">text</p><img id="i" src="dot.png"><script src="act.js"></script></body></html>`
	browserScript = `window.onload = function () {
	var way = performance.getEntriesByType("navigation")[0].nextHopProtocol;
	document.title = ["%s", getComputedStyle(document.getElementById("p")).color,
		document.getElementById("i").naturalWidth, way].join(" ");
};`
	browserStyle = "p { color: rgb(1, 2, %d) }"
	browserDot   = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

// A page with a script, a style and an image, uploaded by SFTP, is seen by a real
// browser at its CDN URL; overwritten by FTP, a reload shows what it is now; made
// private, it is gone at once. The same at an edge that is a process of its own,
// also after its line was cut, and after it was killed.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts a browser again and again, and -short is set")
	}
	b := newBrowser(t)
	n := fileNode(t, func(c *Config) { c.CDN.Listen, c.CDN.Secure = "127.0.0.1:0", "127.0.0.1:0" })
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	must := func(method, path string, headers ...string) {
		t.Helper()
		if status, text := as(t, n, method, "/v1/AUTH_demo/"+path, "", headers...); status/100 != 2 {
			t.Fatalf("%s %s: %d %s", method, path, status, text)
		}
	}
	put := func(pen func(*testing.T, *node, string) pen, name, data string) {
		t.Helper()
		if err := pen(t, n, name).put(data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	// Browsers ask each time whether there is something new.
	public := []string{"X-Container-Read: .r:*", "X-Container-Meta-Cdn-Browser-Ttl: 0"}
	must("PUT", "site", public...)
	dot, err := base64.StdEncoding.DecodeString(browserDot)
	if err != nil {
		t.Fatal(err)
	}
	put(sftpPen, "page.html", browserPage)
	put(sftpPen, "act.js", fmt.Sprintf(browserScript, "first"))
	put(sftpPen, "look.css", fmt.Sprintf(browserStyle, 1))
	put(sftpPen, "dot.png", string(dot))

	line := newWire(t, n.gatewayListener.Addr().String())
	key, err := n.realm.AddEdge(t.Context(), "far")
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "far.key")
	if err := os.WriteFile(keyFile, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	farData, farAddr := t.TempDir(), "127.0.0.1:0"
	startFar := func() *killable {
		return startKillable(t, "http://"+line.l.Addr().String(), farData, "--key-file", keyFile, "--listen", farAddr)
	}
	far := startFar()
	defer func() { far.end(t, syscall.SIGTERM) }()
	farAddr = strings.TrimPrefix(far.url, "http://")

	id, err := n.realm.CDNID(t.Context(), "AUTH_demo")
	if err != nil {
		t.Fatal(err)
	}
	at := func(scheme, addr string) string {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return scheme + "://site-" + id + ".cdn.localhost:" + port + "/page.html"
	}
	type place struct{ name, url, way string }
	near := place{"near", at("http", n.cdn.listener.Addr().String()), "http/1.1"}
	secure := place{"near, HTTPS", at("https", n.cdn.secure.Addr().String()), "h2"}
	away := place{"far", at("http", farAddr), "http/1.1"}
	see := func(when string, p place, script string, color int, first bool) {
		t.Helper()
		got := b.visit(t, p.url)
		want := fmt.Sprintf("%s rgb(1, 2, %d) 1 ", script, color)
		if got != want+p.way && (first || got != want) {
			t.Errorf("%s, %s: the page is %q, want %q", when, p.name, got, want+p.way)
		}
	}
	hear := func(status int, style int) { // until the edge far away has heard
		t.Helper()
		text := ""
		if status == 200 {
			text = fmt.Sprintf(browserStyle, style)
		}
		soon(t, 10*time.Second, far.url+"/AUTH_demo/site/look.css", status, text)
	}
	overwrite := func(script string, color int) {
		t.Helper()
		put(ftpPen, "act.js", fmt.Sprintf(browserScript, script))
		put(ftpPen, "look.css", fmt.Sprintf(browserStyle, color))
	}

	for _, p := range []place{near, secure, away} {
		see("uploaded", p, "first", 1, true)
	}
	overwrite("second", 2)
	for _, p := range []place{near, secure} {
		see("overwritten", p, "second", 2, false)
	}
	hear(200, 2)
	see("overwritten", away, "second", 2, false)

	must("POST", "site", "X-Remove-Container-Read: x")
	if status, _ := ask(t, "GET", n.cdn.url+"/AUTH_demo/site/page.html", ""); status != 404 {
		t.Errorf("made private, the page is answered with %d", status)
	}
	hear(404, 0)
	for _, p := range []place{near, secure, away} {
		if got := b.visit(t, p.url); !strings.Contains(got, "There is nothing here.") {
			t.Errorf("made private, %s: the page is %q", p.name, got)
		}
	}
	must("POST", "site", public...)
	see("public again", near, "second", 2, false)
	hear(200, 2)
	see("public again", away, "second", 2, false)

	line.set(true)
	overwrite("third", 3)
	see("cut off", near, "third", 3, false)
	see("cut off", away, "second", 2, false) // it cannot know
	line.set(false)
	hear(200, 3)
	see("after a cut", away, "third", 3, false)

	far.end(t, syscall.SIGKILL)
	overwrite("fourth", 4)
	far = startFar()
	see("after a kill", away, "fourth", 4, false)
}
