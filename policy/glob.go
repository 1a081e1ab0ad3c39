package policy

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Glob is a pattern for names and paths: * stands for anything but slashes,
// ** for anything, ? for one character but a slash, [a-z] for one of a set
// and [!a-z] for one that is not. A backslash takes the next character as it
// is. A pattern without a slash is compared with the last part of a path.
type Glob struct {
	pattern string
	expr    *regexp.Regexp
	whole   bool // not with the last part only
}

// String is the pattern as it was written.
func (g Glob) String() string { return g.pattern }

// Match tells whether a name fits.
func (g Glob) Match(name string) bool {
	if g.expr == nil || name == "" {
		return false
	}
	if !g.whole && strings.HasPrefix(name, "/") {
		name = path.Base(name)
	}
	return g.expr.MatchString(name)
}

var (
	errEmpty     = errors.New("an empty pattern")
	errBackslash = errors.New("a backslash at the end")
	errSet       = errors.New("[ without ]")
	errRange     = errors.New("a range in [ ] that runs backwards")
)

// NewGlob reads a pattern.
func NewGlob(pattern string) (Glob, error) {
	expr, err := translate(pattern)
	if err != nil {
		return Glob{}, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	compiled, err := regexp.Compile(expr)
	if err != nil {
		return Glob{}, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return Glob{pattern: pattern, expr: compiled, whole: strings.Contains(pattern, "/")}, nil
}

// translate makes a regular expression of a pattern.
func translate(pattern string) (string, error) {
	if pattern == "" {
		return "", errEmpty
	}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for rest := pattern; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**"):
			b.WriteString(".*")
			rest = strings.TrimLeft(rest, "*")
		case rest[0] == '*':
			b.WriteString("[^/]*")
			rest = rest[1:]
		case rest[0] == '?':
			b.WriteString("[^/]")
			rest = rest[1:]
		case rest[0] == '[':
			set, after, err := translateSet(rest)
			if err != nil {
				return "", err
			}
			b.WriteString(set)
			rest = after
		default:
			char, after, err := literal(rest)
			if err != nil {
				return "", err
			}
			b.WriteString(regexp.QuoteMeta(char))
			rest = after
		}
	}
	b.WriteString(`\z`)
	return b.String(), nil
}

// literal takes one character, with a backslash before it or not.
func literal(rest string) (char, after string, err error) {
	if rest[0] == '\\' {
		rest = rest[1:]
	}
	for i := range rest {
		if i > 0 {
			return rest[:i], rest[i:], nil
		}
	}
	if rest == "" {
		return "", "", errBackslash
	}
	return rest, "", nil
}

// translateSet takes [...]: a ] that comes first is one of the set. No set
// has a slash in it.
func translateSet(rest string) (set, after string, err error) {
	rest = rest[1:]
	not := strings.HasPrefix(rest, "!") || strings.HasPrefix(rest, "^")
	if not {
		rest = rest[1:]
	}
	var b strings.Builder
	for first := true; ; first = false {
		if rest == "" {
			return "", "", errSet
		}
		if rest[0] == ']' && !first {
			break
		}
		from, after, err := literal(rest)
		if err != nil {
			return "", "", err
		}
		to := from
		if strings.HasPrefix(after, "-") && len(after) > 1 && after[1] != ']' {
			if to, after, err = literal(after[1:]); err != nil {
				return "", "", err
			}
		}
		if from > to {
			return "", "", errRange
		}
		b.WriteString(setRange(from, to))
		rest = after
	}
	if not {
		return "[^/" + b.String() + "]", rest[1:], nil
	}
	return "[" + b.String() + "]", rest[1:], nil
}

func setRange(from, to string) string {
	quote := func(s string) string { return fmt.Sprintf(`\x{%x}`, []rune(s)[0]) }
	if from == to {
		return quote(from)
	}
	return quote(from) + "-" + quote(to)
}
