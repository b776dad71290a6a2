package storage

import "unicode/utf8"

// AppendJSON appends a string in quotes as JSON in ASCII alone, as Python's
// json.dumps has it: so are listings and manifests, byte for byte, since
// clients compare and hash them.
func AppendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	unit := func(b []byte, r rune) []byte {
		return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
	}
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		if ch := s[i]; ' ' <= ch && ch <= '~' && ch != '"' && ch != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r > 0xffff:
			r -= 0x10000
			b = unit(unit(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			b = unit(b, r)
		}
		i += n
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}
