package memimg

import (
	"cmp"
	"fmt"
	"math"
)

// PageSize is the unit of everything in an image: addresses, sizes and offsets
// of page data are multiples of it.
const PageSize = 4096

// maxExtentPages is the longest extent the format allows, so that a reader
// needs no more than one buffer of 1 MiB for any of them.
const maxExtentPages = 256

// A Range is the part of a space from Start up to, not including, End. Both
// are multiples of PageSize.
type Range struct{ Start, End uint64 }

// Len is the length of r in bytes.
func (r Range) Len() uint64 { return r.End - r.Start }

// check refuses a range that no page-aligned piece of memory can have.
func (r Range) check() error {
	if r.Start%PageSize != 0 || r.End%PageSize != 0 || r.End < r.Start {
		return fmt.Errorf("range %#x-%#x is not made of whole pages", r.Start, r.End)
	}
	return nil
}

// An Extent is a run of pages that lie one after another both in a space and
// in a pages file, under one checksum.
type Extent struct {
	Space  uint32 // which numbered range of pages this is part of
	Layer  uint32 // whose pages file holds it: 0 this image's, n that of Layers[n-1]
	Addr   uint64 // of the first page in the space
	Pages  uint32 // 1 to 256
	Offset uint64 // of the first byte in the pages file
	Sum    uint64 // XXH3 (64 bits, seed 0) of the bytes
}

// Bytes is the length of e in bytes.
func (e Extent) Bytes() uint64 { return uint64(e.Pages) * PageSize }

// End is the address right after e.
func (e Extent) End() uint64 { return e.Addr + e.Bytes() }

// Range is where e lies in its space.
func (e Extent) Range() Range { return Range{e.Addr, e.End()} }

// String names e in errors.
func (e Extent) String() string {
	return fmt.Sprintf("extent of space %d at %#x", e.Space, e.Addr)
}

// fileEnd is the offset right after e in its pages file.
func (e Extent) fileEnd() uint64 { return e.Offset + e.Bytes() }

// check says what is wrong with e taken alone, or "".
func (e Extent) check() string {
	switch {
	case e.Pages == 0 || e.Pages > maxExtentPages:
		return fmt.Sprintf("%d pages, not 1 to %d", e.Pages, maxExtentPages)
	case e.Addr%PageSize != 0:
		return "address is not a multiple of the page size"
	case e.Addr > math.MaxUint64-e.Bytes():
		return "reaches beyond the last address"
	case e.Offset%PageSize != 0:
		return "file offset is not a multiple of the page size"
	case e.Offset > math.MaxInt64-e.Bytes():
		return "file offset is too large"
	}
	return ""
}

// compareExtents orders by space, then address: the order of the index.
func compareExtents(a, b Extent) int {
	return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Addr, b.Addr))
}

// follows reports whether b may come right after a in the index: later, and
// not overlapping.
func (b Extent) follows(a Extent) bool {
	return a.Space < b.Space || a.Space == b.Space && a.End() <= b.Addr
}
