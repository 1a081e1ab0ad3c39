package memimg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func encodedIndex(t testing.TB, extents ...Extent) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := encodeIndex(&buf, extents); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// goodExtents are in order, in three spaces, with values at their limits.
var goodExtents = []Extent{
	{Space: 0, Addr: 0, Pages: 1, Offset: 0, Sum: 1},
	{Space: 0, Addr: PageSize, Pages: maxExtentPages, Offset: 1 << 40, Sum: math.MaxUint64},
	{Space: 1, Layer: 2, Addr: 0, Pages: 1, Offset: math.MaxInt64 - 2*PageSize + 1},
	{Space: math.MaxUint32, Addr: math.MaxUint64 - 2*PageSize + 1, Pages: 1},
}

func TestIndexRoundTrip(t *testing.T) {
	for n := range len(goodExtents) + 1 {
		b := encodedIndex(t, goodExtents[:n]...)
		if int64(len(b)) != indexSize(n) {
			t.Errorf("%d extents make %d bytes", n, len(b))
		}
		got, err := decodeIndex(bytes.NewReader(b), int64(len(b)), 2, "index")
		if err != nil || len(got) != n || n > 0 && !reflect.DeepEqual(got, goodExtents[:n]) {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// TestIndexStrict decodes indexes that no Writer writes.
func TestIndexStrict(t *testing.T) {
	one := func(change func(*Extent)) []byte {
		e := Extent{Space: 1, Addr: 4 * PageSize, Pages: 2, Offset: 8 * PageSize}
		change(&e)
		return encodedIndex(t, e)
	}
	two := func(change func(*Extent)) []byte {
		a := Extent{Space: 1, Addr: 4 * PageSize, Pages: 2, Offset: 8 * PageSize}
		b := a
		b.Addr += 2 * PageSize
		change(&b)
		return encodedIndex(t, a, b)
	}
	poke := func(at int, v byte) []byte {
		b := encodedIndex(t, goodExtents[0])
		b[at] = v
		return b
	}
	for _, c := range []struct {
		want  string
		index []byte
	}{
		{"not an index at offset 0x0", poke(0, 's')},
		{"version: 2, not 1 at offset 0x8", poke(8, 2)},
		{"reserved: not zero at offset 0xc", poke(12, 1)},
		{"2 extents do not make 64 bytes at offset 0x10", poke(16, 2)},
		{"more than 67108864 at offset 0x10", poke(23, 1)},
		{"reserved word is not zero at offset 0x18", poke(indexHeader+20, 1)},
		{"header: cut short at offset 0x0", encodedIndex(t)[:23]},
		{"0 pages", one(func(e *Extent) { e.Pages = 0 })},
		{"257 pages", one(func(e *Extent) { e.Pages = 257 })},
		{"address is not a multiple", one(func(e *Extent) { e.Addr++ })},
		{"beyond the last address", one(func(e *Extent) { e.Addr = math.MaxUint64 - PageSize + 1 })},
		{"file offset is not a multiple", one(func(e *Extent) { e.Offset += 512 })},
		{"file offset is too large", one(func(e *Extent) { e.Offset = 1 << 63 })},
		{"in layer 3, of 2", one(func(e *Extent) { e.Layer = 3 })},
		{"out of order", two(func(e *Extent) { e.Addr -= PageSize })},
		{"out of order", two(func(e *Extent) { e.Addr = 0 })},
		{"out of order", two(func(e *Extent) { e.Space = 0 })},
	} {
		_, err := decodeIndex(bytes.NewReader(c.index), int64(len(c.index)), 2, "index")
		if !isDamage(err, "index") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// TestIndexSize decodes from files that are shorter or longer than they say.
func TestIndexSize(t *testing.T) {
	b := encodedIndex(t, goodExtents...)
	for _, r := range [][]byte{b[:len(b)-1], append(bytes.Clone(b), 0)} {
		if _, err := decodeIndex(bytes.NewReader(r), int64(len(b)), 2, "index"); !isDamage(err, "index") {
			t.Errorf("%d bytes for %d: got %v", len(r), len(b), err)
		}
	}
}

func FuzzIndex(f *testing.F) {
	for n := range len(goodExtents) + 1 {
		f.Add(encodedIndex(f, goodExtents[:n]...), n)
	}
	f.Add(binary.LittleEndian.AppendUint64(encodedIndex(f)[:16], maxExtents), 0)
	f.Fuzz(func(t *testing.T, b []byte, layers int) {
		extents, err := decodeIndex(bytes.NewReader(b), int64(len(b)), layers&0xff, "index")
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
			return
		}
		if again := encodedIndex(t, extents...); !bytes.Equal(again, b) {
			t.Errorf("decoded, but encoded again it is %x", again)
		}
	})
}
