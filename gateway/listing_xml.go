package gateway

import (
	"strconv"

	"memstore.dev/memstore/storage"
)

// xmlEncoder writes a listing as Python's ElementTree has it.
type xmlEncoder struct {
	of    storage.Path
	types typeNames
	open  bool // the tag of what is listed ends behind the first row, or never
}

func newXMLEncoder(of storage.Path) encoder { return &xmlEncoder{of: of} }

func (e *xmlEncoder) begin(b []byte) []byte {
	b = append(b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"...)
	if e.of.IsAccount() {
		b = append(b, `<account name="`...)
		b = appendAttribute(b, e.of.Account)
		return append(b, "\">\n"...)
	}
	b = append(b, `<container name="`...)
	b = appendAttribute(b, e.of.Container)
	e.open = true
	return append(b, '"')
}

func (e *xmlEncoder) end(b []byte) []byte {
	switch {
	case e.of.IsAccount():
		return append(b, "</account>"...)
	case e.open:
		return append(b, " />"...)
	}
	return append(b, "</container>"...)
}

func (e *xmlEncoder) row(b []byte, in *storage.Info) []byte {
	if e.open {
		b = append(b, '>')
		e.open = false
	}
	if e.of.IsAccount() {
		return append(e.container(b, in), '\n')
	}
	if in.Subdir {
		b = append(b, `<subdir name="`...)
		b = appendAttribute(b, in.Path.Object)
		b = append(b, `">`...)
		b = appendElement(b, "name", in.Path.Object)
		return append(b, "</subdir>"...)
	}
	b = append(b, "<object>"...)
	b = appendElement(b, "name", in.Path.Object)
	b = appendElement(b, "hash", storedETag(in))
	b = append(b, "<bytes>"...)
	b = strconv.AppendInt(b, in.Size, 10)
	b = append(b, "</bytes>"...)
	b = appendElement(b, "content_type", e.types.compact(in.Type))
	b = append(b, "<last_modified>"...)
	b = appendISO(b, in.ModTime)
	return append(b, "</last_modified></object>"...)
}

func (e *xmlEncoder) container(b []byte, in *storage.Info) []byte {
	if in.Subdir {
		b = append(b, `<subdir name="`...)
		b = appendAttribute(b, in.Path.Container)
		return append(b, `" />`...)
	}
	b = append(b, "<container>"...)
	b = appendElement(b, "name", in.Path.Container)
	b = append(b, "<count>"...)
	b = strconv.AppendInt(b, in.Objects, 10)
	b = append(b, "</count><bytes>"...)
	b = strconv.AppendInt(b, in.Size, 10)
	b = append(b, "</bytes><last_modified>"...)
	b = appendISO(b, in.ModTime)
	return append(b, "</last_modified></container>"...)
}

func appendElement(b []byte, tag, text string) []byte {
	b = append(b, '<')
	b = append(b, tag...)
	if text == "" {
		return append(b, " />"...)
	}
	b = append(b, '>')
	b = appendText(b, text)
	b = append(b, "</"...)
	b = append(b, tag...)
	return append(b, '>')
}

func appendText(b []byte, s string) []byte {
	from := 0
	for i := range len(s) {
		entity := ""
		switch s[i] {
		case '&':
			entity = "&amp;"
		case '<':
			entity = "&lt;"
		case '>':
			entity = "&gt;"
		default:
			continue
		}
		b = append(append(b, s[from:i]...), entity...)
		from = i + 1
	}
	return append(b, s[from:]...)
}

func appendAttribute(b []byte, s string) []byte {
	for i := range len(s) {
		switch s[i] {
		case '"':
			b = append(b, "&quot;"...)
		case '\r':
			b = append(b, "&#13;"...)
		case '\n':
			b = append(b, "&#10;"...)
		case '\t':
			b = append(b, "&#09;"...)
		default:
			b = appendText(b, s[i:i+1])
		}
	}
	return b
}
