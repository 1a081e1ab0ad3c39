package memimg

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// memory is a space in the test's own memory: a Source and a Sink.
type memory struct {
	mu    sync.Mutex
	pages map[uint64][]byte
}

func newMemory() *memory { return &memory{pages: map[uint64][]byte{}} }

// ReadPages gives zeros where no page is.
func (m *memory) ReadPages(dst []byte, ranges []Range) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range ranges {
		for addr := r.Start; addr < r.End; addr += PageSize {
			clear(dst[:PageSize])
			copy(dst[:PageSize], m.pages[addr])
			dst = dst[PageSize:]
		}
	}
	if len(dst) != 0 {
		return fmt.Errorf("%d bytes more than the ranges", len(dst))
	}
	return nil
}

// WritePages refuses a page that it has already got.
func (m *memory) WritePages(addr uint64, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(data) == 0 || len(data)%PageSize != 0 {
		return fmt.Errorf("%d bytes at %#x", len(data), addr)
	}
	for ; len(data) > 0; addr, data = addr+PageSize, data[PageSize:] {
		if m.pages[addr] != nil {
			return fmt.Errorf("page %#x given twice", addr)
		}
		m.pages[addr] = bytes.Clone(data[:PageSize])
	}
	return nil
}

// set fills n pages at addr with a pattern made from seed.
func (m *memory) set(addr uint64, n int, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, addr))
	for range n {
		p := make([]byte, PageSize)
		for i := range 16 {
			p[rnd.IntN(PageSize)] = byte(i + 1)
		}
		m.pages[addr] = p
		addr += PageSize
	}
}

// randomize makes ranges of up to n pages in all, with some zero pages and
// holes between.
func (m *memory) randomize(rnd *rand.Rand, n int) []Range {
	var ranges []Range
	addr := uint64(rnd.IntN(1<<30)) * PageSize
	for n > 0 {
		size := min(n, 1+rnd.IntN(1<<rnd.IntN(10)))
		ranges = append(ranges, Range{addr, addr + uint64(size)*PageSize})
		for i := range size {
			if rnd.IntN(8) > 0 {
				m.set(addr+uint64(i)*PageSize, 1, rnd.Uint64())
			}
		}
		n -= size
		addr += uint64(size+rnd.IntN(5)*rnd.IntN(1000)) * PageSize
	}
	rnd.Shuffle(len(ranges), func(i, j int) { ranges[i], ranges[j] = ranges[j], ranges[i] })
	return ranges
}

// equal compares two memories; a missing page and a zero page differ.
func (m *memory) equal(t *testing.T, want *memory, space uint32) {
	t.Helper()
	if len(m.pages) != len(want.pages) {
		t.Errorf("space %d: %d pages, want %d", space, len(m.pages), len(want.pages))
	}
	for addr, p := range want.pages {
		if !bytes.Equal(m.pages[addr], p) {
			t.Fatalf("space %d: page %#x differs", space, addr)
		}
	}
}

// ranges is that of all pages, one for each run.
func (m *memory) ranges() []Range {
	var addrs []uint64
	for a := range m.pages {
		addrs = append(addrs, a)
	}
	slices.Sort(addrs)
	var rs []Range
	for _, a := range addrs {
		if n := len(rs); n > 0 && rs[n-1].End == a {
			rs[n-1].End += PageSize
		} else {
			rs = append(rs, Range{a, a + PageSize})
		}
	}
	return rs
}
