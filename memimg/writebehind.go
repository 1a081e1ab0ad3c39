package memimg

import (
	"context"
	"fmt"
	"runtime/metrics"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// behindMost is how many buffers there are at most. A frozen tree need not
	// wait until what lies in them is on the disk.
	behindMost = 32

	// ownMemory is what we, buffers included, should not need more of.
	ownMemory = 56 << 20
)

// A writeBehind is a queue between those who read pages and those who write
// them. Batches go around in it: empty, being filled, full, being written.
type writeBehind struct {
	empty, full chan *pageBatch // each has room for all
	buffers     [][]byte        // of all batches
	read        chan struct{}   // closed when no more is read
	writers     *errgroup.Group
	failed      context.Context // done at the first error of a writer
}

// startWriting starts workers that give each full batch to store, and has
// as many batches as so many pieces (of writeBuffer bytes) are worth.
func startWriting(store func(*pageBatch) error, pieces uint64) *writeBehind {
	batches := min(pieces, uint64(bufferRoom()))
	q := &writeBehind{
		empty: make(chan *pageBatch, batches),
		full:  make(chan *pageBatch, batches),
		read:  make(chan struct{}),
	}
	q.writers, q.failed = errgroup.WithContext(context.Background())
	q.writers.Go(func() error { return q.provide(int(batches)) })
	for range workersFor(pieces) {
		q.writers.Go(func() error { return q.write(store) })
	}
	return q
}

// bufferRoom is how many buffers we have memory for: records of a large tree
// may need most of it.
func bufferRoom() int {
	sample := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(sample)
	used := int64(sample[0].Value.Uint64() - sample[1].Value.Uint64())
	return int(min(max((ownMemory-used)/writeBuffer, 2*maxWorkers), behindMost))
}

// provide makes n empty batches, as long as there is something to read into
// them. The first are awaited, and their memory comes as they are filled. That of the
// others is there before they are, in huge pages, which is four times as quick as small
// ones, but fifty times as slow where this host, being virtual, has to get it from its
// own host: then batches that have been written come around first.
func (q *writeBehind) provide(n int) error {
	const hugePage = 2 << 20
	for i := 0; i < n; {
		size, advice := writeBuffer, unix.MADV_NORMAL
		if i >= maxWorkers {
			size, advice = hugePage, unix.MADV_HUGEPAGE
		}
		buf, err := alignedBuffer(size)
		if err != nil {
			return err
		}
		q.buffers = append(q.buffers, buf)
		if advice == unix.MADV_HUGEPAGE {
			_ = unix.Madvise(buf, advice) // a kernel without has small ones
			_ = unix.Madvise(buf, unix.MADV_POPULATE_WRITE)
		}
		for ; len(buf) > 0 && i < n; i++ {
			select {
			case <-q.read:
				return nil
			case q.empty <- &pageBatch{buf: buf[:writeBuffer]}:
				buf = buf[writeBuffer:]
			}
		}
	}
	return nil
}

// fill is the work of one who reads: gather pages from the dumps into batches.
func (q *writeBehind) fill(cut *cutter, c *crew, progress func(int64)) error {
	var ranges [gatherMost / PageSize]Range
	b, err := q.take()
	for err == nil && !c.stopped() {
		if len(b.buf)-b.n < minTake {
			q.full <- b
			if b, err = q.take(); err != nil {
				break
			}
		}
		dump, ranges := cut.next(ranges[:0], uint64(min(len(b.buf)-b.n, gatherMost)))
		if dump == nil {
			q.full <- b
			return nil
		}
		n, err := b.gather(dump, ranges)
		if err != nil {
			return fmt.Errorf("read pages of space %d: %w", dump.Space, err)
		}
		if progress != nil {
			progress(n)
		}
	}
	return err
}

// take returns an empty batch, or the error of a writer.
func (q *writeBehind) take() (*pageBatch, error) {
	select {
	case b := <-q.empty:
		return b, nil
	case <-q.failed.Done():
		return nil, context.Cause(q.failed)
	}
}

// noMore lets the writers end once they have written what is full.
func (q *writeBehind) noMore() {
	close(q.read)
	close(q.full)
}

// write is the work of one who writes.
func (q *writeBehind) write(store func(*pageBatch) error) error {
	for b := range q.full {
		if q.failed.Err() != nil {
			return nil
		}
		if err := store(b); err != nil {
			return err
		}
		*b = pageBatch{buf: b.buf, extents: b.extents[:0]}
		q.empty <- b
	}
	return nil
}

// wait returns when all is written, or with the first error. It must be called,
// after noMore, to have the memory freed.
func (q *writeBehind) wait() error {
	err := q.writers.Wait()
	for _, b := range q.buffers {
		freeBuffer(b)
	}
	return err
}
