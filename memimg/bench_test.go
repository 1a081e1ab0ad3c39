package memimg

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// flat is a space that is one piece of the test's memory, from address 0.
type flat []byte

func (f flat) ReadPages(dst []byte, ranges []Range) error {
	for _, r := range ranges {
		dst = dst[copy(dst, f[r.Start:r.End]):]
	}
	return nil
}

func (f flat) WritePages(addr uint64, data []byte) error {
	copy(f[addr:], data)
	return nil
}

// newFlat is n bytes, touched, of which no page is zero. They are no memory of
// the Go runtime, since that is what buffers are measured by (bufferRoom).
func newFlat(b *testing.B, n int) flat {
	b.Helper()
	f, err := alignedBuffer(n)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { freeBuffer(f) })
	for i := 0; i < n; i += 64 {
		f[i] = byte(rand.Uint32() | 1)
	}
	return f
}

// benchDir is a directory on the disk that holds the package.
func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp(".", "bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

var benchSizes = []struct {
	name string
	size int
}{{"1MiB", 1 << 20}, {"64MiB", 64 << 20}, {"1GiB", 1 << 30}}

// BenchmarkWrite measures a whole image, synced, and WritePages as part of it.
func BenchmarkWrite(b *testing.B) {
	for _, s := range benchSizes {
		for _, mode := range []string{"direct", "buffered"} {
			b.Run(s.name+"/"+mode, func(b *testing.B) {
				dump := []Dump{{1, newFlat(b, s.size), []Range{{0, uint64(s.size)}}}}
				dir := filepath.Join(benchDir(b), "image")
				var pages time.Duration
				b.SetBytes(int64(s.size))
				for b.Loop() {
					w := mustCreate(b, dir)
					if mode == "buffered" {
						w.pages.fallBack()
					}
					begin := time.Now()
					if err := w.WritePages(dump, nil); err != nil {
						b.Fatal(err)
					}
					pages += time.Since(begin)
					mustCommit(b, w)
					b.StopTimer()
					os.RemoveAll(dir)
					b.StartTimer()
				}
				b.ReportMetric(float64(s.size)*float64(b.N)/pages.Seconds()/1e9, "GB/s-pages")
			})
		}
	}
}

// BenchmarkRead measures Open and ReadPages into touched memory.
func BenchmarkRead(b *testing.B) {
	for _, s := range benchSizes {
		dir := filepath.Join(benchDir(b), "image")
		mem := newFlat(b, s.size)
		w := mustCreate(b, dir)
		if err := w.WritePages([]Dump{{1, mem, []Range{{0, uint64(s.size)}}}}, nil); err != nil {
			b.Fatal(err)
		}
		mustCommit(b, w)
		for _, mode := range []string{"direct", "buffered", "cached"} {
			b.Run(s.name+"/"+mode, func(b *testing.B) {
				b.SetBytes(int64(s.size))
				for b.Loop() {
					b.StopTimer()
					evict(b, dir, mode == "cached")
					b.StartTimer()
					im := mustOpen(b, dir)
					if mode == "buffered" {
						im.pages[0].direct.fallBack()
					}
					if err := im.ReadPages([]Fill{{1, mem}}, nil); err != nil {
						b.Fatal(err)
					}
					im.Close()
				}
			})
		}
	}
}

// evict drops the pages of the image from the page cache, or reads them into it.
func evict(b *testing.B, dir string, cache bool) {
	b.Helper()
	f, err := os.Open(filepath.Join(dir, pagesName))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if cache {
		buf := make([]byte, 1<<20)
		for n := 1; n > 0; n, _ = f.Read(buf) {
		}
		return
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkIsZero scans a buffer of zero pages.
func BenchmarkIsZero(b *testing.B) {
	buf := make([]byte, writeBuffer)
	b.SetBytes(writeBuffer)
	for b.Loop() {
		for at := 0; at < len(buf); at += PageSize {
			if !isZero(buf[at : at+PageSize]) {
				b.Fatal("not zero")
			}
		}
	}
}
