package procfs

import (
	"bytes"
	"math"
	"strings"
)

// cursor takes a line apart from left to right. The first thing that is not
// as expected makes it bad, and it stays bad and yields zeros, so that a
// parser checks once, at the end.
type cursor struct {
	b   []byte
	bad bool
}

// done reports whether the line was as expected and is used up.
func (c *cursor) done() bool { return !c.bad && len(c.b) == 0 }

// fail makes the cursor bad.
func (c *cursor) fail() { c.b, c.bad = nil, true }

// lit takes exactly s.
func (c *cursor) lit(s string) {
	if len(c.b) < len(s) || string(c.b[:len(s)]) != s {
		c.fail()
		return
	}
	c.b = c.b[len(s):]
}

// blanks takes any number of spaces and tabs.
func (c *cursor) blanks() {
	i := 0
	for i < len(c.b) && isBlank(c.b[i]) {
		i++
	}
	c.b = c.b[i:]
}

// byte takes one byte.
func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.fail()
		return 0
	}
	ch := c.b[0]
	c.b = c.b[1:]
	return ch
}

// word takes the bytes up to a blank or the end; there must be one at least.
func (c *cursor) word() []byte {
	c.blanks()
	i := 0
	for i < len(c.b) && !isBlank(c.b[i]) {
		i++
	}
	if i == 0 {
		c.fail()
		return nil
	}
	w := c.b[:i]
	c.b = c.b[i:]
	return w
}

// rest takes everything that is left.
func (c *cursor) rest() []byte {
	r := c.b
	c.b = nil
	return r
}

// uint takes the digits of a number in base, at least one.
func (c *cursor) uint(base uint64) uint64 {
	var n uint64
	i := 0
	for ; i < len(c.b); i++ {
		d := digit(c.b[i])
		if d >= base {
			break
		}
		if n > (math.MaxUint64-d)/base {
			c.fail()
			return 0
		}
		n = n*base + d
	}
	if i == 0 {
		c.fail()
		return 0
	}
	c.b = c.b[i:]
	return n
}

// dec takes an unsigned decimal number.
func (c *cursor) dec() uint64 { return c.uint(10) }

// hex takes an unsigned hexadecimal number without 0x.
func (c *cursor) hex() uint64 { return c.uint(16) }

// uint32 takes an unsigned number in base that fits 32 bits.
func (c *cursor) uint32(base uint64) uint32 {
	n := c.uint(base)
	if n > math.MaxUint32 {
		c.fail()
		return 0
	}
	return uint32(n)
}

// int takes a decimal number, with a minus sign if it is negative.
func (c *cursor) int() int64 {
	negative := len(c.b) > 0 && c.b[0] == '-'
	if negative {
		c.b = c.b[1:]
	}
	n := c.dec()
	switch {
	case negative && n <= 1<<63:
		return -int64(n)
	case !negative && n <= math.MaxInt64:
		return int64(n)
	}
	c.fail()
	return 0
}

// ints takes all decimal numbers up to the end, separated by blanks.
func (c *cursor) ints() []int {
	var list []int
	for c.blanks(); len(c.b) > 0; c.blanks() {
		list = append(list, int(c.int()))
		c.separated()
	}
	return list
}

// separated requires that a blank or the end follows.
func (c *cursor) separated() {
	if len(c.b) > 0 && !isBlank(c.b[0]) {
		c.fail()
	}
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// digit returns the value of a digit up to base 16, or a value over every base.
func digit(b byte) uint64 {
	switch {
	case b >= '0' && b <= '9':
		return uint64(b - '0')
	case b >= 'a' && b <= 'f':
		return uint64(b-'a') + 10
	}
	return math.MaxUint64
}

// cutLine splits b after its first line, and returns the line without its
// newline.
func cutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// unescapeOctal undoes the \ooo of Linux fs/seq_file.c:mangle_path, v6.12. All
// escaped bytes are below 0200, so a backslash that is not followed by three
// octal digits stands for itself.
func unescapeOctal(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if ch, ok := octalAt(s, i); ok {
			out = append(out, ch)
			i += 3
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// octalAt decodes the \ooo at s[i], if there is one.
func octalAt(s string, i int) (byte, bool) {
	if s[i] != '\\' || i+3 >= len(s) {
		return 0, false
	}
	c := cursor{b: []byte(s[i+1 : i+4])}
	n := c.uint(8)
	return byte(n), c.done() && n < 0x80
}
