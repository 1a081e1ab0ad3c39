package memstate

import (
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// hugeShift is where mmap(2) and memfd_create(2) take the log2 of the size of
// huge pages (MAP_HUGE_SHIFT, MFD_HUGE_SHIFT).
const hugeShift = 26

// hugePage is the log2 of the size of a mapping's pages if they are of
// hugetlbfs, else 0.
func hugePage(v *procfs.VMA) uint8 {
	if !v.Flags.Has("ht") {
		return 0
	}
	return uint8(bits.TrailingZeros64(v.PageSize))
}

// anonymousHuge tells whether a mapping was made by MAP_ANONYMOUS|MAP_HUGETLB:
// it has a file of the kernel's own (Linux mm/hugetlb.c, HUGETLB_ANON_FILE).
func anonymousHuge(v *procfs.VMA) bool {
	return v.Deleted && v.Path == "/anon_hugepage" && v.Flags.Has("ht")
}

// setHuge makes an object one of huge pages. It comes back as a memfd, since a
// hugetlbfs need not be mounted; so does shared anonymous memory, as mremap(2)
// cannot duplicate huge pages (Linux mm/mremap.c:check_prep_vma, v6.18: EFAULT).
func (obj *liveObject) setHuge(size uint64) {
	obj.Huge = uint8(bits.TrailingZeros64(size))
	if obj.Kind != Memfd {
		obj.Kind, obj.Name = Memfd, filepath.Base(obj.Name)
	}
}

// pageSize is the size of an object's pages.
func (o *Object) pageSize() uint64 {
	if o.Huge != 0 {
		return 1 << o.Huge
	}
	return task.PageSize
}

// LackError says that this host has not enough of something, or none of it.
type LackError struct {
	Why  string
	Hint string
	Err  error
}

func (e *LackError) Error() string { return fmt.Sprintf("%s: %v", e.Why, e.Err) }
func (e *LackError) Unwrap() error { return e.Err }

// hugeProblem recognises a lack of huge pages: no memory, or no such size.
func hugeProblem(what string, err error) error {
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return &LackError{Why: what + " of huge pages", Hint: "raise /proc/sys/vm/nr_hugepages", Err: err}
	}
	return err
}

// fillProt is the protection that a private mapping of huge pages has
// until it is filled: a tracer's rights do not go so far as to write to one
// that is read-only (Linux mm/gup.c:check_vma_flags, v6.18).
func (v *VMA) fillProt() int {
	if v.Huge != 0 && !v.Shared {
		return v.Prot | unix.PROT_READ | unix.PROT_WRITE
	}
	return v.Prot
}

// protect takes such rights away again.
func (s *Space) protect(b *task.Batch) {
	for i := range s.VMAs {
		if v := &s.VMAs[i]; v.fillProt() != v.Prot {
			b.Add(unix.SYS_MPROTECT, v.Start, v.Len(), v.Prot)
		}
	}
}

// hasHuge tells whether any mapping is of huge pages.
func (s *Space) hasHuge() bool {
	for i := range s.VMAs {
		if s.VMAs[i].Huge != 0 {
			return true
		}
	}
	return false
}

// planHuge finds places in the builder where objects of huge pages are mapped
// to be filled: hugetlbfs has no write(2). They are behind the master mappings.
func (r *ObjectRestorer) planHuge() {
	r.huge = map[uint32]task.Addr{}
	at := r.end
	for i := range r.objects {
		if o := &r.objects[i]; o.Huge != 0 && o.Size > 0 {
			page := task.Addr(o.pageSize())
			at = (at + page - 1) &^ (page - 1)
			r.huge[o.ID] = at
			at += task.Addr(o.Size)
		}
	}
}

func (r *ObjectRestorer) mapHuge(builder *task.Process, o *Object) error {
	at, ok := r.huge[o.ID]
	if !ok {
		return nil
	}
	_, err := builder.Call(unix.SYS_MMAP, at, o.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED_NOREPLACE, r.fds[o.ID], 0)
	if err != nil {
		return hugeProblem("memory", err)
	}
	return nil
}

func (r *ObjectRestorer) unmapHuge(builder *task.Process) error {
	var b task.Batch
	for i := range r.objects {
		if at, ok := r.huge[r.objects[i].ID]; ok {
			b.Add(unix.SYS_MUNMAP, at, r.objects[i].Size)
		}
	}
	return builder.Run(&b)
}
