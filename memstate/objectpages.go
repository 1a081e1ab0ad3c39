package memstate

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/memimg"
)

// ranges finds where the object has data.
func (obj *liveObject) ranges() ([]memimg.Range, error) {
	if obj.file != nil {
		return dataRanges(int(obj.file.Fd()), obj.Size)
	}
	var found []memimg.Range
	for _, v := range obj.views {
		rs, err := v.ranges(obj)
		if err != nil {
			return nil, err
		}
		found = append(found, rs...)
	}
	return union(found), nil
}

// dataRanges walks a file by SEEK_DATA and SEEK_HOLE (man 2 lseek), rounded
// outwards to pages.
func dataRanges(fd int, size int64) ([]memimg.Range, error) {
	var ranges []memimg.Range
	for pos := int64(0); pos < size; {
		start, err := unix.Seek(fd, pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("seek data: %w", err)
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("seek hole: %w", err)
		}
		ranges = append(ranges, memimg.Range{Start: pageDown(uint64(start)), End: pageUp(uint64(end))})
		pos = end
	}
	return union(ranges), nil
}

func pageDown(n uint64) uint64 { return n &^ (task.PageSize - 1) }
func pageUp(n uint64) uint64   { return pageDown(n + task.PageSize - 1) }

// appendRange appends r, joined with the last range where they touch.
func appendRange(ranges []memimg.Range, r memimg.Range) []memimg.Range {
	if n := len(ranges); n > 0 && ranges[n-1].End >= r.Start {
		ranges[n-1].End = max(ranges[n-1].End, r.End)
		return ranges
	}
	return append(ranges, r)
}

func union(ranges []memimg.Range) []memimg.Range {
	slices.SortFunc(ranges, func(a, b memimg.Range) int {
		if a.Start < b.Start {
			return -1
		}
		if a.Start > b.Start {
			return 1
		}
		return 0
	})
	var out []memimg.Range
	for _, r := range ranges {
		out = appendRange(out, r)
	}
	return out
}

// ReadPages makes an object a memimg.Source. Ranges are offsets in it.
func (obj *liveObject) ReadPages(dst []byte, ranges []memimg.Range) error {
	for _, r := range ranges {
		var err error
		if obj.file != nil {
			err = obj.readFile(dst[:r.Len()], r)
		} else {
			err = obj.readViews(dst[:r.Len()], r)
		}
		if err != nil {
			return err
		}
		dst = dst[r.Len():]
	}
	return nil
}

// readFile reads from the descriptor; what lies past the end is zero.
func (obj *liveObject) readFile(dst []byte, r memimg.Range) error {
	n, err := obj.file.ReadAt(dst, int64(r.Start))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	clear(dst[n:])
	return err
}
