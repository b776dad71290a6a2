package gateway

import (
	"strconv"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// An encoder writes a listing, row by row, at the end of a buffer.
type encoder interface {
	begin(b []byte) []byte
	row(b []byte, in *storage.Info) []byte
	end(b []byte) []byte
}

// entryName is the name of an entry within what is listed.
func entryName(in *storage.Info) string {
	if in.Path.Object != "" {
		return in.Path.Object
	}
	return in.Path.Container
}

// textEncoder writes a name to a line.
type textEncoder struct{}

func newTextEncoder(storage.Path) encoder { return textEncoder{} }

func (textEncoder) begin(b []byte) []byte { return b }
func (textEncoder) end(b []byte) []byte   { return b }

func (textEncoder) row(b []byte, in *storage.Info) []byte {
	return append(append(b, entryName(in)...), '\n')
}

// A typeNames writes content types as listings have them, without spaces
// around their parameters. It remembers the last, for most are alike.
type typeNames struct{ from, to string }

func (t *typeNames) compact(s string) string {
	if strings.IndexByte(s, ';') < 0 {
		return s
	}
	if s != t.from {
		t.from, t.to = s, compactType(s)
	}
	return t.to
}

func compactType(s string) string {
	kind, rest, _ := strings.Cut(s, ";")
	b := append(make([]byte, 0, len(s)+1), kind...)
	for rest != "" {
		key, after, ok := token(strings.TrimLeft(rest, " \t"))
		if !ok { // nothing that is a parameter: look behind the next semicolon
			_, rest, _ = strings.Cut(rest, ";")
			continue
		}
		value := ""
		if v, ok := strings.CutPrefix(strings.TrimLeft(after, " \t"), "="); ok {
			v = strings.TrimLeft(v, " \t")
			if _, behind, ok := quotedString(v); ok && v[0] == '"' {
				value, after = v[:len(v)-len(behind)], behind
			} else {
				value, after, _ = token(v)
			}
		}
		b = append(append(append(append(b, ';'), key...), '='), value...)
		_, rest, _ = strings.Cut(after, ";")
	}
	return string(b)
}

// jsonEncoder writes an array as Python's json.dumps has it.
type jsonEncoder struct {
	rows     bool
	versions bool // they are what the objects were
	types    typeNames
}

func newJSONEncoder(storage.Path) encoder { return new(jsonEncoder) }

func (e *jsonEncoder) begin(b []byte) []byte { return append(b, '[') }
func (e *jsonEncoder) end(b []byte) []byte   { return append(b, ']') }

func (e *jsonEncoder) row(b []byte, in *storage.Info) []byte {
	if e.rows {
		b = append(b, ", "...)
	}
	e.rows = true
	switch {
	case in.Subdir:
		b = append(b, `{"subdir": `...)
		b = storage.AppendJSON(b, entryName(in))
		return append(b, '}')
	case in.Path.IsContainer():
		b = append(b, `{"name": `...)
		b = storage.AppendJSON(b, in.Path.Container)
		b = append(b, `, "count": `...)
		b = strconv.AppendInt(b, in.Objects, 10)
		b = append(b, `, "bytes": `...)
		b = strconv.AppendInt(b, in.Size, 10)
	default:
		b = append(b, `{"bytes": `...)
		b = strconv.AppendInt(b, in.Size, 10)
		b = append(b, `, "hash": "`...)
		b = append(b, storedETag(in)...)
		b = append(b, `", "name": `...)
		b = storage.AppendJSON(b, in.Path.Object)
		b = append(b, `, "content_type": `...)
		b = storage.AppendJSON(b, e.types.compact(in.Type))
	}
	b = append(b, `, "last_modified": "`...)
	b = appendISO(b, in.ModTime)
	b = append(b, '"')
	if id := in.VersionID(); id != storage.NullVersion && !e.versions {
		b = appendVersion(b, in, id)
	} else if in.Link != nil {
		b = appendLink(b, in.Link)
	}
	if in.Large != nil && in.Large.Static {
		b = append(b, `, "slo_etag": "\"`...)
		b = append(b, in.ETag...)
		b = append(b, `\""`...)
	}
	return append(b, '}')
}

// storedETag is the MD5 of what is stored of an object, which listings show also
// of large ones.
func storedETag(in *storage.Info) string {
	if in.Large != nil {
		return in.Large.ManifestETag
	}
	return in.ETag
}

// appendISO appends a time as listings have it, in UTC with microseconds.
func appendISO(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendPadded(b, year, 4)
	b = append(b, '-')
	b = appendPadded(b, int(month), 2)
	b = append(b, '-')
	b = appendPadded(b, day, 2)
	b = append(b, 'T')
	b = appendPadded(b, hour, 2)
	b = append(b, ':')
	b = appendPadded(b, minute, 2)
	b = append(b, ':')
	b = appendPadded(b, second, 2)
	b = append(b, '.')
	return appendPadded(b, t.Nanosecond()/1000, 6)
}
