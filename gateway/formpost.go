package gateway

import (
	"bufio"
	"crypto/hmac"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

const (
	maxFormValue  = 4096 // bytes of a field; what is beyond is cut off
	maxFormFields = 100  // which is plenty: a dozen mean anything
)

// A form is an upload by a page in a browser, which the owner of the container
// has signed: fields, and then files, each of which becomes an object. The
// signature is judged anew for each file, by the fields that stand before it.
type form struct {
	c      *call
	keys   SignatureKeys
	fields map[string]string
	files  int64
}

// formBoundary is what parts the fields of a form that a page sends, and whether
// the request is one.
func formBoundary(r *http.Request) (string, bool) {
	if r.Method != http.MethodPost {
		return "", false
	}
	kind, params := disposed(r.Header.Get("Content-Type"))
	return params["boundary"], kind == "multipart/form-data" && params["boundary"] != ""
}

// disposed reads a value with parameters, as in
//
//	form-data; name="a"; filename="x.txt"
//
// the way browsers write it: what stands between quotation marks stands for
// itself, backslashes too.
func disposed(v string) (value string, params map[string]string) {
	value, rest, _ := strings.Cut(v, ";")
	params = make(map[string]string)
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		var text string
		if inside, quoted := strings.CutPrefix(after, `"`); quoted {
			if text, rest, ok = strings.Cut(inside, `"`); !ok {
				break
			}
			rest = strings.TrimPrefix(strings.TrimSpace(rest), ";")
		} else {
			text, rest, _ = strings.Cut(after, ";")
			text = strings.TrimSpace(text)
		}
		params[name] = text
	}
	return strings.TrimSpace(value), params
}

// postForm answers a form. Who sent it does not matter, only who signed it.
func (c *call) postForm(boundary string, p storage.Path, wrong error) error {
	f := &form{c: c, fields: make(map[string]string)}
	c.actFor(auth.Identity{Ticket: &auth.Ticket{By: "formpost"}}) // which allows nothing, yet
	if wrong == nil && p.Container != "" {
		c.path = p
		f.keys = c.signatureKeys(p)
		if c.r.Header["Origin"] != nil {
			c.origin = c.askOrigin()
		}
	}
	status, message, err := f.read(boundary)
	if err != nil {
		if r := (*refusal)(nil); errors.As(err, &r) {
			return err
		}
		answer := c.answerTo(err)
		if answer.status == http.StatusInternalServerError {
			return err
		}
		status = answer.status
	}
	return f.answer(status, message)
}

func formInvalid(text string) error {
	return &refusal{status: http.StatusBadRequest, text: "FormPost: " + text, kind: plain}
}

func formUnauthorized(text string) error {
	return &refusal{status: http.StatusUnauthorized, text: "FormPost: " + text}
}

// read reads the form to its end, or to the first file that cannot be stored.
// The message is beside a status that is not a file's own.
func (f *form) read(boundary string) (status int, message string, err error) {
	parts, err := startForm(&f.c.body, boundary)
	if err != nil {
		return 0, "", err
	}
	for fields := 0; ; {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, "", f.broken(err)
		}
		kind, params := disposed(part.Header.Get("Content-Disposition"))
		if kind == "form-data" && params["filename"] != "" {
			most, ok := f.number("max_file_count")
			if f.files++; ok && f.files > most {
				return http.StatusBadRequest, "max file count exceeded", nil
			} else if !ok {
				return 0, "", formInvalid("max_file_count not an integer")
			}
			if err := f.store(part, params["filename"]); err != nil {
				return 0, "", err
			}
			status = http.StatusCreated
			continue
		}
		if fields++; fields > maxFormFields {
			return 0, "", formInvalid("too many fields")
		}
		value, err := io.ReadAll(io.LimitReader(part, maxFormValue))
		if err != nil {
			return 0, "", f.broken(err)
		}
		if name, ok := params["name"]; ok {
			f.fields[strings.ToLower(name)] = strings.TrimRight(string(value), "\r\n-")
		}
	}
	if status == 0 {
		return http.StatusBadRequest, "no files to process", nil
	}
	return status, "", nil
}

// startForm finds the first boundary, before which there may be nothing but
// empty lines.
func startForm(r io.Reader, boundary string) (*multipart.Reader, error) {
	in := bufio.NewReader(r)
	for {
		next, err := in.Peek(2)
		if err != nil || string(next) != "\r\n" {
			break
		}
		in.Discard(2)
	}
	first, _ := in.Peek(len(boundary) + 4)
	if strings.TrimSpace(string(first)) != "--"+boundary {
		return nil, formInvalid("invalid starting boundary")
	}
	return multipart.NewReader(in, boundary), nil
}

// broken says what is wrong with a form that could not be read on.
func (f *form) broken(err error) error {
	if f.c.body.err != nil {
		return f.c.body.err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &refusal{status: statusDisconnected, hangUp: true}
	}
	return formInvalid("malformed")
}

// number reads a field that is a number, 0 if it is not there.
func (f *form) number(name string) (int64, bool) {
	v := f.fields[name]
	if v == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	return n, err == nil
}

// store puts one file, if the fields before it allow that.
func (f *form) store(part *multipart.Part, filename string) error {
	if f.keys == (SignatureKeys{}) {
		return formUnauthorized("Invalid Signature")
	}
	most, ok := f.number("max_file_size")
	if !ok {
		return formInvalid("max_file_size not an integer")
	}
	header, err := f.header(part.Header)
	if err != nil {
		return err
	}
	expires, ok := f.number("expires")
	if !ok {
		return formInvalid("expired not an integer")
	}
	if time.Unix(expires, 0).Before(time.Now()) {
		return formUnauthorized("Form Expired")
	}
	within, ok := f.signed()
	if !ok {
		return formUnauthorized("Invalid Signature")
	}
	c := f.c
	in := storage.Info{Path: c.path, Size: -1, Type: header.Get("Content-Type")}
	in.Path.Object += filename
	if _, err := split(in.Path.String()[1:]); err != nil {
		return err
	}
	c.id.Ticket = &auth.Ticket{By: "formpost", Path: in.Path, Write: true, Within: within}
	c.ctx = auth.NewContext(c.ctx, c.id)
	if in.DeleteAt, err = expiry(header, time.Now()); err != nil {
		return err
	}
	if err := checkType(in.Type); err != nil {
		return err
	}
	if in.Meta, err = objects.fromHeader(header, false); err != nil {
		return err
	}
	up, err := c.g.Store.Create(c.ctx, in, storage.Cond{})
	if err != nil {
		return err
	}
	defer up.Close()
	file := &capped{r: part, left: min(most, c.g.MaxObjectSize)}
	if _, err := up.ReadFrom(file); err != nil {
		switch {
		case file.exceeded:
			return formInvalid("max_file_size exceeded")
		case file.err != nil:
			return f.broken(file.err)
		}
		return err
	}
	_, err = up.Commit(c.ctx)
	return err
}

// header are the headers of an upload that a form can stand for: by its own
// fields, which go first, or by what the browser says of the file.
func (f *form) header(part textproto.MIMEHeader) (http.Header, error) {
	h := make(http.Header)
	for name, key := range map[string]string{"x_delete_at": "X-Delete-At", "x_delete_after": "X-Delete-After"} {
		v, ok := f.fields[name]
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			what := "Unix timestamp required."
			if name == "x_delete_after" {
				what = "Number of seconds required."
			}
			return nil, formInvalid(name + " not an integer: " + what)
		}
		h.Set(key, strconv.FormatInt(n, 10))
	}
	for _, key := range []string{"Content-Type", "Content-Encoding"} {
		v, ok := f.fields[strings.ToLower(key)]
		if !ok {
			v, ok = part.Get(key), part[key] != nil
		}
		if v == "" && ok && key == "Content-Type" {
			v = "application/octet-stream"
		}
		if v != "" {
			h.Set(key, v)
		}
	}
	return h, nil
}

// signed reports whether one of the keys signed the fields, and where it is good.
func (f *form) signed() (within storage.Path, ok bool) {
	value := func(name, none string) string {
		if v := f.fields[name]; v != "" {
			return v
		}
		return none
	}
	text := fmt.Sprintf("%s\n%s\n%s\n%s\n%s", f.c.r.URL.Path, f.fields["redirect"],
		value("max_file_size", "0"), value("max_file_count", "0"), value("expires", "0"))
	digest, given, ok := parseSignature(f.fields["signature"])
	if !ok || !slices.Contains(f.c.g.Digests, digest) {
		return within, false
	}
	for i, key := range []string{f.keys.Account[0], f.keys.Account[1], f.keys.Container[0], f.keys.Container[1]} {
		if key == "" {
			continue
		}
		mac := hmac.New(digests[digest], []byte(key))
		mac.Write([]byte(text))
		if subtle.ConstantTimeCompare(mac.Sum(nil), given) == 1 {
			if i < 2 {
				return storage.Path{Account: f.c.path.Account}, true
			}
			return f.c.path.Parent(), true
		}
	}
	return within, false
}

// capped is a file that may have so many bytes.
type capped struct {
	r        io.Reader
	left     int64
	exceeded bool
	err      error
}

func (r *capped) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.left -= int64(n); r.left < 0 {
		r.exceeded, err = true, storage.ErrTooLarge
	}
	if err != nil && err != io.EOF && !r.exceeded {
		r.err = err
	}
	return n, err
}

// answer tells the browser how it went, or sends it where the form says.
func (f *form) answer(status int, message string) error {
	c := f.c
	text := strconv.Itoa(status) + " " + statusText(status)
	redirect := f.fields["redirect"]
	if _, ok := f.signed(); redirect == "" || !ok {
		// Nobody but the owner may have browsers sent elsewhere from here.
		if message != "" {
			text += "\r\nFormPost: " + titled(message)
		}
		c.say(status, plain, text)
		return nil
	}
	sep := "?"
	if strings.Contains(redirect, "?") {
		sep = "&"
	}
	redirect += sep + "status=" + strconv.Itoa(status) + "&message=" + quote(message)
	c.set("Location", redirect)
	c.say(http.StatusSeeOther, html, `<html><body><p><a href="`+attrText.Replace(redirect)+`">Click to continue...</a></p></body></html>`)
	return nil
}

// attrText makes a URL fit for the value of an attribute.
var attrText = strings.NewReplacer("<", "&lt;", ">", "&gt;", `"`, "&quot;")

// titled has every word begin with a capital.
func titled(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}

// statusText is what Swift calls a status.
func statusText(status int) string {
	if s, ok := sentences[status]; ok {
		return s.title
	}
	return http.StatusText(status)
}
