package sftp

import (
	"errors"
	"strings"
)

// A word is one argument of a command line.
type word struct {
	text string

	// pattern is the word for path.Match if it holds *, ? or [ that are not
	// quoted, and empty otherwise.
	pattern string
}

var errSyntax = errors.New("this is no shell: only words and quotes are understood")

// words splits a command line as a shell would, without being one: quotes and
// backslashes mean what they mean there, and whatever would start another
// command, read a variable or redirect something is an error.
func words(line string) ([]word, error) {
	if strings.IndexByte(line, 0) >= 0 {
		return nil, errSyntax
	}
	var list []word
	var text, pattern strings.Builder
	inWord, glob := false, false
	add := func(c byte, quoted bool) {
		inWord = true
		if quoted && strings.IndexByte(`*?[\`, c) >= 0 {
			pattern.WriteByte('\\')
		}
		text.WriteByte(c)
		pattern.WriteByte(c)
	}
	end := func() {
		if !inWord {
			return
		}
		w := word{text: text.String()}
		if glob {
			w.pattern = pattern.String()
		}
		list = append(list, w)
		text.Reset()
		pattern.Reset()
		inWord, glob = false, false
	}
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'':
			if c == '\'' {
				quote = 0
			} else {
				add(c, true)
			}
		case c == '\\':
			if i++; i == len(line) {
				return nil, errSyntax
			}
			switch next := line[i]; {
			case next == '\n': // continues the line
			case quote == '"' && strings.IndexByte("\"\\$`", next) < 0:
				add('\\', true)
				add(next, true)
			default:
				add(next, true)
			}
		case quote == '"':
			switch c {
			case '"':
				quote = 0
			case '$', '`':
				return nil, errSyntax
			default:
				add(c, true)
			}
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			end()
		case strings.IndexByte(";&|<>()$`\n", c) >= 0, c == '#' && !inWord:
			return nil, errSyntax
		default:
			glob = glob || c == '*' || c == '?' || c == '['
			add(c, false)
		}
	}
	if quote != 0 {
		return nil, errSyntax
	}
	end()
	return list, nil
}
