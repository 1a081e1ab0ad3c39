package memimg

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

const (
	// readBuffer is a worker's buffer, with room for the longest extent.
	readBuffer = maxExtentPages * PageSize

	// readPiece is the most that is read at once of shorter extents: longer
	// reads gain little from the disk, and lose much in the cache.
	readPiece = 512 << 10
)

// A Sink takes the pages of a space.
type Sink interface {
	// WritePages puts data, which is whole pages, at addr. It is called from
	// several goroutines at once, never twice for the same address. data is
	// not to be kept.
	WritePages(addr uint64, data []byte) error
}

// A Fill says where the pages of one space go.
type Fill struct {
	Space uint32
	Sink  Sink
}

// ReadPages gives the pages of the spaces to their sinks, with several workers
// and a small amount of memory of its own. No sink sees a byte whose checksum is
// wrong. The first error ends it.
//
// progress, when not nil, gets how many bytes have been delivered since the
// last call; it is called from several goroutines at once.
func (im *Image) ReadPages(fills []Fill, progress func(bytes int64)) error {
	var places []place
	for i, f := range fills {
		for _, e := range im.Extents(f.Space) {
			places = append(places, place{e, i})
		}
	}
	return im.read(places, progress, func(job []place, data []byte) error {
		return deliver(fills, job, data)
	})
}

// Verify reads all page data of the image, that in earlier layers included, and
// checks it against the index. With Open before, every byte has been checked
// then. progress is as for ReadPages.
func (im *Image) Verify(progress func(bytes int64)) error {
	places := make([]place, len(im.extents))
	for i, e := range im.extents {
		places[i].Extent = e
	}
	return im.read(places, progress, func([]place, []byte) error { return nil })
}

// A place is an extent to be read, and the number of the fill that it is for.
type place struct {
	Extent
	fill int
}

// read reads and verifies the places in the order of the files, and calls use
// for each piece, from several goroutines at once.
func (im *Image) read(places []place, progress func(int64), use func(job []place, data []byte) error) error {
	var total uint64
	for _, p := range places {
		total += p.Bytes()
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Offset, b.Offset))
	})
	jobs := &jobQueue{places: places}
	var c crew
	return c.run(workersFor((total+readPiece-1)/readPiece), func() error {
		buf, err := alignedBuffer(int(min(readBuffer, max(total, PageSize))))
		if err != nil {
			return err
		}
		defer freeBuffer(buf)
		for !c.stopped() {
			job := jobs.next()
			if job == nil {
				return nil
			}
			data, err := im.readJob(job, buf)
			if err == nil {
				err = use(job, data)
			}
			if err != nil {
				return err
			}
			if progress != nil {
				progress(int64(jobBytes(job)))
			}
		}
		return nil
	})
}

// readJob reads the bytes of a job into buf and verifies them.
func (im *Image) readJob(job []place, buf []byte) ([]byte, error) {
	pages := im.pages[job[0].Layer]
	start := job[0].Offset
	end := start
	for _, p := range job {
		end = max(end, p.fileEnd())
	}
	data := buf[:end-start]
	if err := pages.readAt(data, int64(start)); err != nil {
		return nil, err
	}
	for _, p := range job {
		if xxh3.Hash(data[p.Offset-start:p.fileEnd()-start]) != p.Sum {
			return nil, &FormatError{File: pages.name, Offset: int64(p.Offset), Field: p.String(), Msg: "checksum mismatch"}
		}
	}
	return data, nil
}

// deliver gives the data of a job to the sinks, in one call where both memory
// and file go on.
func deliver(fills []Fill, job []place, data []byte) error {
	start := job[0].Offset
	for len(job) > 0 {
		n := 1
		for n < len(job) && job[n].fill == job[0].fill &&
			job[n].Addr == job[n-1].End() && job[n].Offset == job[n-1].fileEnd() {
			n++
		}
		first, last := job[0], job[n-1]
		piece := data[first.Offset-start : last.fileEnd()-start]
		if err := fills[first.fill].Sink.WritePages(first.Addr, piece); err != nil {
			return fmt.Errorf("write pages of space %d at %#x: %w", first.Space, first.Addr, err)
		}
		job = job[n:]
	}
	return nil
}

// A jobQueue deals places out to workers, in pieces to be read at once.
type jobQueue struct {
	mu     sync.Mutex
	places []place // in the order of the files
}

// next returns the next places that lie together in one file and fit into a
// buffer, or nil when all are dealt out.
func (q *jobQueue) next() []place {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.places) == 0 {
		return nil
	}
	first := q.places[0]
	end := first.fileEnd()
	n := 1
	for ; n < len(q.places); n++ {
		p := q.places[n]
		if p.Layer != first.Layer || p.Offset > end || p.fileEnd()-first.Offset > readPiece {
			break
		}
		end = max(end, p.fileEnd())
	}
	job := q.places[:n]
	q.places = q.places[n:]
	return job
}

// jobBytes is how many bytes the places of a job are.
func jobBytes(job []place) (n uint64) {
	for _, p := range job {
		n += p.Bytes()
	}
	return n
}

// A pagesFile is the page data of an image or of a layer.
type pagesFile struct {
	name   string
	size   int64
	direct *directFile
	buffed *os.File // the same file through the page cache
}

// openPages opens the pages file at name, which must have this size.
func openPages(name string, size int64) (*pagesFile, error) {
	f, have, err := openPart(name)
	if err != nil {
		return nil, missing(name, err)
	}
	p := &pagesFile{name: name, size: size, buffed: f}
	if have != size {
		f.Close()
		return nil, wrongSize(name, have, size)
	}
	p.direct, err = openDirect(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// readAt fills b from the page cache, if all is there, else around it.
func (p *pagesFile) readAt(b []byte, off int64) (err error) {
	if cached(p.buffed, off, len(b)) {
		_, err = p.buffed.ReadAt(b, off)
	} else {
		_, err = p.direct.ReadAt(b, off)
	}
	if err == io.EOF {
		return readError(p.name, off, "pages", err)
	}
	return err
}

// close closes both.
func (p *pagesFile) close() error { return errors.Join(p.direct.Close(), p.buffed.Close()) }
