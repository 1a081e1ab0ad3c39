package memimg

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

const (
	// writeBuffer is the size of a batch, and so the longest write: 64 MiB take
	// 40 ms in writes of 256 KiB and 27 ms in writes of 1 MiB.
	writeBuffer = 1 << 20

	// gatherMost is the most that is read at once: it must still be in the
	// cache when it is looked through for zero pages.
	gatherMost = 256 << 10

	// minTake is the room in a buffer below which it is written out.
	minTake = 32 << 10
)

// A Source gives the pages of a space.
type Source interface {
	// ReadPages fills dst with the bytes of the ranges, one after another. The
	// ranges are of whole pages, no more than 64 (gatherMost) in all, and dst is as long as
	// they are. It is called from several goroutines at once.
	ReadPages(dst []byte, ranges []Range) error
}

// A Dump is what to store of one space.
type Dump struct {
	Space  uint32
	Source Source
	Ranges []Range // page aligned, not overlapping others of the same space
}

// WritePages stores the pages of all dumps, but for those that are zero. It
// returns when it has read them, so that the memory may change again; what has
// not reached the disk by then is written meanwhile, and Commit waits for it. It
// may be called again for more. The first error ends it, and the image: what is
// left is to call Abort.
//
// progress, when not nil, gets how many bytes of the ranges have been dealt
// with since the last call; it is called from several goroutines at once, and
// not after WritePages has returned.
func (w *Writer) WritePages(dumps []Dump, progress func(bytes int64)) error {
	if w.done || w.failed != nil {
		return fmt.Errorf("%s: no more pages after commit, abort or an error", w.dir)
	}
	w.failed = w.writePages(dumps, progress)
	return w.failed
}

func (w *Writer) writePages(dumps []Dump, progress func(bytes int64)) error {
	total, err := countBytes(dumps)
	if err != nil || total == 0 {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := w.reserve(int64(total)); err != nil {
		return err
	}
	pieces := (total + writeBuffer - 1) / writeBuffer
	w.behind = startWriting(w.store, pieces)
	cut := &cutter{dumps: dumps}
	var c crew
	err = c.run(workersFor(pieces), func() error { return w.behind.fill(cut, &c, progress) })
	w.behind.noMore()
	return err
}

// Flush waits until all that WritePages has read is written, or an error has
// ended that. Commit does it, too; this is for those who want to know the time.
func (w *Writer) Flush() error {
	if w.behind == nil {
		return nil
	}
	if err := w.behind.wait(); w.failed == nil {
		w.failed = err
	}
	w.behind = nil
	return w.failed
}

// countBytes adds up the ranges of all dumps, and refuses those that no memory
// can have.
func countBytes(dumps []Dump) (total uint64, err error) {
	for _, d := range dumps {
		for _, r := range d.Ranges {
			if err := r.check(); err != nil {
				return 0, fmt.Errorf("space %d: %w", d.Space, err)
			}
			total += r.Len()
		}
	}
	return total, nil
}

// reserve takes room for n more bytes of pages, so that workers write inside
// the file: ext4 lets only one at a time extend it (Linux
// fs/ext4/file.c:ext4_dio_write_checks, v6.12), which costs a quarter of the
// throughput. What is not used is given back before anything else is written.
//
// No room is no error yet, since zero pages take none. Then the file is left as
// it was, for the kernel keeps what it found before the disk was full (man 2
// fallocate), and nobody else could write.
func (w *Writer) reserve(n int64) error {
	var disk unix.Statfs_t
	fd := int(w.pages.Fd())
	if unix.Fstatfs(fd, &disk) != nil || uint64(n)/uint64(disk.Bsize) >= disk.Bavail {
		return nil
	}
	if unix.Fallocate(fd, 0, w.next.Load(), n) != nil {
		return w.pages.Truncate(w.size)
	}
	w.size = max(w.size, w.next.Load()+n)
	return nil
}

// store writes the batch at the next free offset.
func (w *Writer) store(b *pageBatch) error {
	if b.n == 0 {
		return nil
	}
	end := w.next.Add(int64(b.n))
	off := end - int64(b.n)
	b.seal(uint64(off))
	if _, err := w.pages.WriteAt(b.buf[:b.n], off); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.extents = append(w.extents, b.extents...)
	w.size = max(w.size, end)
	return nil
}

// A pageBatch is a buffer being filled with pages, to be written in one piece.
type pageBatch struct {
	buf     []byte
	n       int      // bytes of buf in use
	extents []Extent // of those bytes; Offset is in buf until sealed
}

// gather reads the ranges of one dump into b, which has room for them, and
// keeps the pages that are not zero. It returns how many bytes it has read.
func (b *pageBatch) gather(d *Dump, ranges []Range) (int64, error) {
	var size int
	for _, r := range ranges {
		size += int(r.Len())
	}
	if err := d.Source.ReadPages(b.buf[b.n:b.n+size], ranges); err != nil {
		return 0, err
	}
	at := b.n
	for _, r := range ranges {
		for addr := r.Start; addr < r.End; addr += PageSize {
			if !isZero(b.buf[at : at+PageSize]) {
				b.keep(d.Space, addr, at)
			}
			at += PageSize
		}
	}
	return int64(size), nil
}

// keep adds the page at buf[at:] to the batch.
func (b *pageBatch) keep(space uint32, addr uint64, at int) {
	if at != b.n {
		copy(b.buf[b.n:b.n+PageSize], b.buf[at:])
	}
	if n := len(b.extents); n > 0 && b.extents[n-1].Space == space && b.extents[n-1].End() == addr {
		b.extents[n-1].Pages++
	} else {
		b.extents = append(b.extents, Extent{Space: space, Addr: addr, Pages: 1, Offset: uint64(b.n)})
	}
	b.n += PageSize
}

// seal fixes the extents of the batch, which will lie at off in the file.
func (b *pageBatch) seal(off uint64) {
	for i := range b.extents {
		e := &b.extents[i]
		e.Sum = xxh3.Hash(b.buf[e.Offset:e.fileEnd()])
		e.Offset += off
	}
}

var zeroPage [PageSize]byte

// isZero reports whether a page is all zero.
func isZero(page []byte) bool { return bytes.Equal(page, zeroPage[:]) }

// A cutter deals the ranges of dumps out to workers.
type cutter struct {
	mu    sync.Mutex
	dumps []Dump
	r     int    // index of the current range of dumps[0]
	taken uint64 // bytes of that range dealt out
}

// next appends to dst the next ranges of one dump, of no more than limit bytes
// in all. It returns no dump when there is no more.
func (c *cutter) next(dst []Range, limit uint64) (*Dump, []Range) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.dumps) > 0 {
		d := &c.dumps[0]
		for ; c.r < len(d.Ranges) && limit > 0; c.r, c.taken = c.r+1, 0 {
			r := d.Ranges[c.r]
			r.Start += c.taken
			n := min(r.Len(), limit)
			if n == 0 {
				continue
			}
			dst = append(dst, Range{r.Start, r.Start + n})
			limit -= n
			if n < r.Len() {
				c.taken += n
				break
			}
		}
		if c.r == len(d.Ranges) {
			c.dumps, c.r = c.dumps[1:], 0
		}
		if len(dst) > 0 {
			return d, dst
		}
	}
	return nil, nil
}
