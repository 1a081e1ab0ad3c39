// Package rulefile reads files that have one rule a line: words, with quotes
// and comments. What a rule says is its reader's.
package rulefile

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a line that is no rule, and why.
type Error struct {
	File string
	Line int
	Msg  string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }

// Parse gives each line that has words on it to rule, and where it stands, as
// FILE:LINE. The error lists every bad line.
func Parse(file, text string, rule func(words []Word, origin string) error) error {
	var errs []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		words, err := split(line)
		if err == nil && len(words) > 0 {
			err = rule(words, fmt.Sprintf("%s:%d", file, n))
		}
		if err != nil {
			errs = append(errs, &Error{File: file, Line: n, Msg: err.Error()})
		}
	}
	return errors.Join(errs...)
}

// Word is a part of a line.
type Word struct {
	Text   string
	Quoted bool // some of it was in quotes
}

// split cuts a line into words. Quotes hold blanks together; inside of them a
// backslash stands before a quote or a backslash. A # that begins a word
// begins a comment.
func split(line string) ([]Word, error) {
	var words []Word
	var w strings.Builder
	in, begun, quoted := false, false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f:
			return nil, fmt.Errorf("a control character (%#x)", c)
		case in && c == '\\' && i+1 < len(line) && (line[i+1] == '"' || line[i+1] == '\\'):
			i++
			w.WriteByte(line[i])
		case c == '"':
			in, begun, quoted = !in, true, true
		case in:
			w.WriteByte(c)
		case c == '#' && !begun:
			return words, nil
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if begun {
				words = append(words, Word{w.String(), quoted})
			}
			w.Reset()
			begun, quoted = false, false
		default:
			begun = true
			w.WriteByte(c)
		}
	}
	if in {
		return nil, errors.New(`a quote (") is not closed`)
	}
	if begun {
		words = append(words, Word{w.String(), quoted})
	}
	return words, nil
}
