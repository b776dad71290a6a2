package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"memstore.dev/memstore/storage"
)

// MetaAccountACL is where the value of X-Account-Access-Control is kept, an
// account's list of who else may use all of it.
const MetaAccountACL = "X-Account-Sysmeta-Core-Access-Control"

// An accountACL is a list of names for each of three grants: "admin" for all
// an account's own admin may do, "read-write" for all but the account itself,
// "read-only" for what changes nothing.
type accountACL map[string][]string

// The keys of an accountACL, in the order they are checked and written.
var grants = []string{"admin", "read-only", "read-write"}

// CleanAccountACL brings the value of X-Account-Access-Control, JSON such as
// {"read-only": ["ann:bob"]}, into the form that is stored under
// MetaAccountACL, or returns a Refusal in Swift's words. A list that grants
// nothing at all is "".
func CleanAccountACL(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	refuse := func(why string) (string, error) {
		return "", &storage.Refusal{Text: fmt.Sprintf("X-Account-Access-Control invalid: %s\n\nInput: %s\n", why, value)}
	}
	keys, values, ok := object(value)
	if !ok {
		return refuse("Syntax error in input (" + quoted(value) + ")")
	}
	for _, key := range keys {
		if !slices.Contains(grants, key) {
			return refuse("Key " + ascii(key) + " not recognized")
		}
	}
	for _, key := range []string{"admin", "read-write", "read-only"} {
		raw, ok := values[key]
		if !ok {
			continue
		}
		var list []any
		if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
			return refuse("Value for key " + ascii(key) + " must be a list")
		}
		for _, grantee := range list {
			if _, ok := grantee.(string); !ok {
				return refuse("Elements of " + ascii(key) + " list must be strings")
			}
		}
	}
	return parseAccountACL(value).String(), nil
}

// object reads a JSON object: its keys in order, and the last value of each.
func object(text string) (keys []string, values map[string]json.RawMessage, ok bool) {
	if !json.Valid([]byte(text)) {
		return nil, nil, false
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, nil, false
	}
	values = make(map[string]json.RawMessage)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, false
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil && err != io.EOF {
			return nil, nil, false
		}
		name := key.(string) // keys of valid JSON are strings
		if _, again := values[name]; !again {
			keys = append(keys, name)
		}
		values[name] = value
	}
	return keys, values, true
}

// parseAccountACL reads what is stored; what cannot be read grants nothing.
func parseAccountACL(value string) accountACL {
	var a accountACL
	if value == "" || json.Unmarshal([]byte(value), &a) != nil {
		return nil
	}
	return a
}

// grantsTo reports whether one of the names of a grant means id.
func (a accountACL) grantsTo(id Identity, grant string) bool {
	return !id.Stranger() && slices.ContainsFunc(a[grant], id.member)
}

// String writes the list as Swift does, in ASCII and without spaces.
func (a accountACL) String() string {
	var b []byte
	for _, key := range grants {
		list, ok := a[key]
		if !ok {
			continue
		}
		if b = append(b, ','); len(b) == 1 {
			b[0] = '{'
		}
		b = append(append(b, ascii(key)...), ":["...)
		for i, name := range list {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, ascii(name)...)
		}
		b = append(b, ']')
	}
	if b == nil {
		return ""
	}
	return string(append(b, '}'))
}

// ascii writes s as a JSON string with everything beyond ASCII escaped, since
// it travels in a header.
func ascii(s string) string {
	b := []byte{'"'}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r >= 0x20 && r < utf8.RuneSelf:
			b = append(b, byte(r))
		case r <= 0xffff:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		}
	}
	return string(append(b, '"'))
}
