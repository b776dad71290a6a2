package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A side is a server that scripts are put to.
type side struct {
	name   string
	host   string
	vars   map[string]string // tokens of users, and what @set kept
	update func() error      // see @update; nil if there is nothing to do
}

// An answer is what a server said, after normalising what must differ: dates,
// transaction ids, tokens, addresses. Every field of it is compared.
type answer struct {
	status string // "404 Not Found"; or that there was none
	fields []string
	body   string
}

// ask puts a case to a server, as bytes on a connection of its own: what is
// tested is in part what no client library would send.
func (s *side) ask(c *testCase, now time.Time) (*answer, error) {
	if c.update && s.update != nil {
		if err := s.update(); err != nil {
			return nil, err
		}
	}
	head, body, err := s.request(c, now)
	if err != nil {
		return nil, err
	}
	var a *answer
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if a, err = s.exchange(c, head, body); err != nil || c.until == 0 {
			return a, err
		}
		if strings.HasPrefix(a.status, fmt.Sprint(c.until)) {
			return a, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the answer is still %s, not %d", a.status, c.until)
		}
	}
}

// request builds the bytes before and of the body.
func (s *side) request(c *testCase, now time.Time) (head, body string, err error) {
	if c.raw != "" {
		raw, err := expand(c.raw, s.vars, now)
		return raw, "", err
	}
	target := c.target
	if strings.HasPrefix(target, "~") {
		target = "/v1/AUTH_test" + target[1:]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", c.method, target)
	if !slices.ContainsFunc(c.header, func(h string) bool { return strings.HasPrefix(h, "Host:") }) {
		b.WriteString("Host: " + s.host + "\r\n")
	}
	if c.user != "nobody" {
		b.WriteString("X-Auth-Token: ${" + c.user + "}\r\n")
	}
	for _, h := range c.header {
		b.WriteString(h + "\r\n")
	}
	if body, err = expand(c.body, s.vars, now); err != nil {
		return "", "", err
	}
	switch {
	case c.chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n")
		body = chunks(body)
	case c.length != "":
		b.WriteString("Content-Length: " + c.length + "\r\n")
	case !c.unframed && (c.hasBody || c.method == "PUT" || c.method == "POST"):
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	head, err = expand(b.String(), s.vars, now)
	return head, body, err
}

// chunks is a body in chunks of uneven sizes.
func chunks(body string) string {
	var b strings.Builder
	for size := 1; body != ""; size = size*3 + 1 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

func (s *side) exchange(c *testCase, head, body string) (*answer, error) {
	conn, err := net.Dial("tcp", s.host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := io.WriteString(conn, head); err != nil {
		return nil, err
	}
	from := bufio.NewReader(conn)
	method := &http.Request{Method: c.method}
	var fields []string
	sendBody := func() {
		// A server may answer and hang up without reading a body to its end.
		io.WriteString(conn, body)
		if c.length != "" || c.unframed || c.raw != "" {
			conn.(*net.TCPConn).CloseWrite()
		}
	}
	waits := slices.ContainsFunc(c.header, func(h string) bool { return strings.EqualFold(h, "Expect: 100-continue") })
	if !waits {
		sendBody()
	}
	r, err := http.ReadResponse(from, method)
	if err == nil && r.StatusCode == http.StatusContinue {
		fields = append(fields, "(first): "+r.Status)
		sendBody()
		r, err = http.ReadResponse(from, method)
	}
	if err != nil {
		return &answer{status: "no answer"}, nil //nolint:nilerr // that is the answer
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		fields = append(fields, "(body): broken off")
	}
	for name, header := range c.set {
		s.vars[name] = r.Header.Get(header)
	}
	return s.normalise(r, fields, data), nil
}

var (
	transID    = regexp.MustCompile(`^tx[0-9a-f]{21}-[0-9a-f]{10}(-.*)?$`)
	timestamp  = regexp.MustCompile(`^[0-9]{10}\.[0-9]{5}$`)
	token      = regexp.MustCompile(`^\S{20,}$`)
	unixTime   = regexp.MustCompile(`^[0-9]{10}$`)
	seconds    = regexp.MustCompile(`^[0-9]+$`)
	boundary   = regexp.MustCompile(`^multipart/byteranges;\s*boundary=("?)([0-9a-f]{32})"?$`)
	pageTime   = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}`)
	anMD5      = regexp.MustCompile(`^[0-9a-f]{32}$`)
	versionID  = regexp.MustCompile(`(\?version-id=|"version_id": ")[0-9]{10}\.[0-9]{5}`)
	listedTime = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}`)

	bodyDate       = regexp.MustCompile(`[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT`)
	listedManifest = regexp.MustCompile(`"hash": "[0-9a-f]{32}"(, "name": "[^"]*", "content_type": "[^"]*", "last_modified": "[^"]*", "slo_etag": )`)
)

// normalise takes from an answer what must differ, but only where it is of the
// form that it must have.
func (s *side) normalise(r *http.Response, fields []string, data []byte) *answer {
	body := string(data)
	// A manifest has the times of its segments in it, and so its MD5 differs.
	manifest := r.Header.Get("X-Static-Large-Object") != "" && strings.HasPrefix(r.Header.Get("Content-Type"), "application/json")
	body = listedManifest.ReplaceAllString(body, `"hash": "<md5>"$1`)
	for name, values := range r.Header {
		for _, v := range values {
			switch name {
			case "Date", "Last-Modified", "X-Copied-From-Last-Modified":
				if _, err := time.Parse(http.TimeFormat, v); err == nil {
					v = "<date>"
				}
			case "X-Trans-Id", "X-Openstack-Request-Id":
				v = transID.ReplaceAllString(v, "<transaction>$1")
			case "X-Timestamp", "X-Put-Timestamp", "X-Object-Version-Id", "X-Object-Current-Version-Id", "X-Copied-From-Version-Id":
				v = timestamp.ReplaceAllString(v, "<timestamp>")
			case "Content-Location", "X-Symlink-Target":
				v = versionID.ReplaceAllString(v, "$1<version>")
			case "X-Auth-Token", "X-Storage-Token":
				v = token.ReplaceAllString(v, "<token>")
			case "X-Manifest-Etag":
				v = anMD5.ReplaceAllString(v, "<md5>")
			case "Etag":
				if manifest {
					v = anMD5.ReplaceAllString(v, "<md5>")
				}
			case "X-Auth-Token-Expires":
				v = seconds.ReplaceAllString(v, "<seconds>")
			case "Allow", "Vary", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Expose-Headers":
				// Sets, which Swift's Python tells in any order.
				set := strings.Split(v, ", ")
				slices.Sort(set)
				v = strings.Join(set, ", ")
			case "Expires":
				// Of a signed URL, a few minutes from now.
				if at, err := time.Parse(http.TimeFormat, v); err == nil && time.Until(at).Abs() < 24*time.Hour {
					v = "<soon>"
				}
			case "X-Delete-At":
				if n, err := strconv.ParseInt(v, 10, 64); err == nil && unixTime.MatchString(v) && n < 1<<32 {
					v = fmt.Sprintf("<%+d seconds>", time.Until(time.Unix(n, 0)).Round(100*time.Second)/time.Second)
				}
			case "Content-Type":
				if m := boundary.FindStringSubmatch(v); m != nil {
					v = strings.Replace(v, m[2], "<boundary>", 1)
					body = strings.ReplaceAll(body, m[2], "<boundary>")
				}
			}
			fields = append(fields, name+": "+strings.ReplaceAll(v, s.host, "<host>"))
		}
	}
	if r.Close {
		fields = append(fields, "(connection): close")
	}
	if len(r.TransferEncoding) > 0 {
		fields = append(fields, "(transfer): "+strings.Join(r.TransferEncoding, ", "))
	}
	slices.Sort(fields)
	body = listedTime.ReplaceAllString(body, "<time>")
	body = versionID.ReplaceAllString(body, "$1<version>")
	body = bodyDate.ReplaceAllString(body, "<date>")
	body = pageTime.ReplaceAllString(body, "<time>")
	body = strings.ReplaceAll(body, s.host, "<host>")
	return &answer{status: r.Status, fields: fields, body: body}
}

// field returns a field's values, in order, and whether it is there.
func (a *answer) field(name string) (string, bool) {
	var values []string
	for _, f := range a.fields {
		if n, v, _ := strings.Cut(f, ": "); n == name {
			values = append(values, v)
		}
	}
	return strings.Join(values, " | "), len(values) > 0
}

// text is an answer as recordings have it.
func (a *answer) text() string {
	var b bytes.Buffer
	b.WriteString(a.status + "\n")
	for _, f := range a.fields {
		fmt.Fprintf(&b, "%s\n", strconv.Quote(f)[1:][:len(strconv.Quote(f))-2])
	}
	if a.body != "" {
		fmt.Fprintf(&b, "%s\n", quoteBody(a.body))
	}
	return b.String()
}

// quoteBody is a body on a line of its own, behind a "=".
func quoteBody(body string) string { return "= " + strconv.Quote(body) }

// parseAnswer is the reverse of text.
func parseAnswer(text string) (*answer, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	a := &answer{status: lines[0]}
	for _, line := range lines[1:] {
		quoted, isBody := strings.CutPrefix(line, "= ")
		if !isBody {
			quoted = `"` + line + `"`
		}
		s, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		if isBody {
			a.body = s
		} else {
			a.fields = append(a.fields, s)
		}
	}
	return a, nil
}
