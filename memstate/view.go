package memstate

import (
	"fmt"
	"sort"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/memimg"
)

// view is a stretch of memory in which a part of an object can be seen.
type view struct {
	held       *task.Process
	start, end uint64
	offset     uint64 // in the object
	private    bool
}

// addView adds what a mapping shows.
func (obj *liveObject) addView(held *task.Process, v *procfs.VMA) error {
	end := v.End
	if !v.Flags.Has("gu") { // guard pages cannot be read either
		var err error
		if end, err = endOfObject(held.PID, v); err != nil {
			return err
		}
	}
	obj.Size = max(obj.Size, int64(v.Offset+end-v.Start))
	if end > v.Start {
		obj.views = append(obj.views, view{held, v.Start, end, v.Offset, !v.Shared})
	}
	return nil
}

// endOfObject finds where in a mapping its object ends: no page behind it can
// be read (man 2 mmap, SIGBUS). What is behind it in the last page is zero.
func endOfObject(pid task.PID, v *procfs.VMA) (uint64, error) {
	mem, err := task.OpenMemory(pid)
	if err != nil {
		return 0, err
	}
	defer mem.Close()
	page := max(v.PageSize, task.PageSize)
	readable := func(n int) bool {
		return mem.ReadAt(make([]byte, 1), task.Addr(v.Start+uint64(n)*page)) == nil
	}
	pages := int(v.Len() / page)
	if readable(pages - 1) {
		return v.End, nil
	}
	return v.Start + page*uint64(sort.Search(pages, func(n int) bool { return !readable(n) })), nil
}

// Hide tells the objects which pages of a process show nothing of them: in
// private mappings, those that Private found to be its own, and guard pages.
func (o *Objects) Hide(held *task.Process, own []memimg.Range, guards []Range) {
	var blind []memimg.Range
	for _, g := range guards {
		blind = append(blind, memimg.Range{Start: uint64(g.Start), End: uint64(g.End)})
	}
	for _, obj := range o.list {
		var kept []view
		for _, v := range obj.views {
			switch {
			case v.held != held:
				kept = append(kept, v)
			case v.private:
				for _, part := range v.without(own) {
					kept = append(kept, part.without(blind)...)
				}
			default:
				kept = append(kept, v.without(blind)...)
			}
		}
		obj.views = kept
	}
}

// without cuts ranges, in ascending order, out of a view.
func (v view) without(own []memimg.Range) []view {
	var left []view
	first := sort.Search(len(own), func(i int) bool { return own[i].End > v.start })
	for _, r := range own[first:] {
		if r.Start >= v.end {
			break
		}
		if r.Start > v.start {
			left = append(left, view{v.held, v.start, r.Start, v.offset, v.private})
		}
		v.offset += min(r.End, v.end) - v.start
		v.start = min(r.End, v.end)
	}
	if v.start < v.end {
		left = append(left, v)
	}
	return left
}

// ranges finds where the object may have data: of a file, everywhere; of
// memory, in the pages that exist, mapped here or not (man 2 mincore). Pages
// out on swap do not count as resident, so with any there everything is read;
// so it is with huge pages, of which only those mapped here count (Linux
// mm/mincore.c:mincore_hugetlb, v6.18).
func (v view) ranges(obj *liveObject) ([]memimg.Range, error) {
	if obj.swapped || obj.Huge != 0 || obj.Kind == UnlinkedFile {
		return []memimg.Range{{Start: v.offset, End: v.offset + v.end - v.start}}, nil
	}
	const step = 32 << 10 // pages in one call: a byte each
	var ranges []memimg.Range
	for at := v.start; at < v.end; at += step * task.PageSize {
		n := min(v.end-at, step*task.PageSize)
		vec := make([]byte, n/task.PageSize)
		if _, err := v.held.Call(unix.SYS_MINCORE, at, n, vec); err != nil {
			return nil, err
		}
		for i, in := range vec {
			if in&1 != 0 {
				off := v.offset + at - v.start + uint64(i)*task.PageSize
				ranges = appendRange(ranges, memimg.Range{Start: off, End: off + task.PageSize})
			}
		}
	}
	return ranges, nil
}

// readViews reads through whichever views show the range.
func (obj *liveObject) readViews(dst []byte, r memimg.Range) error {
	for r.Start < r.End {
		v, ok := obj.showing(r.Start)
		if !ok {
			return fmt.Errorf("no mapping shows offset %#x", r.Start)
		}
		at := v.start + r.Start - v.offset
		n := min(r.Len(), v.end-at)
		if err := Source(v.held.PID).ReadPages(dst[:n], []memimg.Range{{Start: at, End: at + n}}); err != nil {
			return err
		}
		dst, r.Start = dst[n:], r.Start+n
	}
	return nil
}

func (obj *liveObject) showing(off uint64) (view, bool) {
	for _, v := range obj.views {
		if off >= v.offset && off < v.offset+v.end-v.start {
			return v, true
		}
	}
	return view{}, false
}
