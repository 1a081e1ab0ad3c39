package procfs

import (
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a page is, in a [ScanQuery] and in the ranges it finds (Linux
// include/uapi/linux/fs.h, v6.14, and Documentation/admin-guide/mm/pagemap.rst).
const (
	PageIsWPAllowed = 1 << iota // in a mapping with userfaultfd WP_ASYNC
	PageIsWritten               // not write-protected by WP_ASYNC; so always true without it
	PageIsFile                  // of a file or of shared memory; computed only if a mask of the query has it
	PageIsPresent
	PageIsSwapped // not present, but not none: swap, migration, and any marker, such as a guard's or WP_ASYNC's
	PageIsPFNZero // the zero page
	PageIsHuge    // of a transparent or hugetlbfs huge page
	PageIsSoftDirty
	PageIsGuard // MADV_GUARD_INSTALL; since v6.15, and before that just PageIsSwapped
)

// Guards is PageIsGuard where the kernel knows it, else 0: a query with a bit that is
// not known is refused as a whole (Linux fs/proc/task_mmu.c:pagemap_scan_get_args, v6.12).
var Guards = sync.OnceValue(func() uint64 {
	p, err := OpenPagemap(os.Getpid())
	if err != nil {
		return 0
	}
	defer p.Close()
	const somewhere, page = 1 << 16, 1 << 12
	query := ScanQuery{AnyOf: PageIsGuard, Return: PageIsGuard}
	if p.Scan(somewhere, somewhere+page, query, func(_, _, _ uint64) error { return nil }) != nil {
		return 0
	}
	return PageIsGuard
})

// Flags of a [ScanQuery].
const (
	// ScanWPMatching write-protects the pages that are found. Mappings
	// without WP_ASYNC are left out silently.
	ScanWPMatching = 1 << 0
	// ScanCheckWPAsync makes a mapping without WP_ASYNC an error, EPERM.
	ScanCheckWPAsync = 1 << 1
)

// ScanQuery says which pages to find: those that, after the bits of Inverted
// were flipped, have all bits of Mask, and one of AnyOf unless that is zero.
// The ranges found carry the bits of Return, not flipped; a range ends where
// one of them changes.
type ScanQuery struct {
	Flags    uint64
	Inverted uint64
	Mask     uint64
	AnyOf    uint64
	Return   uint64
}

// pagemapScan is the request number PAGEMAP_SCAN, _IOWR('f', 16, struct
// pm_scan_arg).
const pagemapScan = 0xc0606610

// pageRegion is struct page_region.
type pageRegion struct {
	start, end, categories uint64
}

// pmScanArg is struct pm_scan_arg. vec is a pointer here, so that the garbage
// collector knows about it.
type pmScanArg struct {
	size, flags, start, end, walkEnd uint64
	vec                              *pageRegion
	vecLen, maxPages                 uint64
	inverted, mask, anyOf, ret       uint64
}

// Pagemap is an open /proc/PID/pagemap. It stays with the address space it was
// opened on, also after execve(2). It is not for use by several goroutines at
// once.
type Pagemap struct {
	file    *os.File
	regions [512]pageRegion
}

// OpenPagemap opens /proc/PID/pagemap.
func OpenPagemap(pid int) (*Pagemap, error) {
	f, err := os.Open(pidPath(pid, "pagemap"))
	if err != nil {
		return nil, err
	}
	return &Pagemap{file: f}, nil
}

// Close closes the file.
func (p *Pagemap) Close() error { return p.file.Close() }

// Scan calls fn with the ranges in [start, end) that match q, in ascending
// order, until it returns an error. Two ranges that touch have different
// categories, unless one call of the kernel ended between them. Addresses
// without a mapping are left out, and so are mappings of page frames
// (VM_PFNMAP); a query that also matches absent pages reports those.
//
// start must be at a page boundary; end is rounded up to one.
func (p *Pagemap) Scan(start, end uint64, q ScanQuery, fn func(start, end, categories uint64) error) error {
	for start < end {
		n, walked, err := p.scanOnce(start, end, q)
		if err != nil {
			return err
		}
		for _, r := range p.regions[:n] {
			if err := fn(r.start, r.end, r.categories); err != nil {
				return err
			}
		}
		if walked <= start {
			return fmt.Errorf("%s: scan made no progress at %#x", p.file.Name(), start)
		}
		start = walked
	}
	return nil
}

// scanOnce fills p.regions and returns how many there are and how far the
// kernel came. The vector is never empty, since kernels without the fix of
// 2025-09 crash on a length of 0, and not longer than the kernel's own of 512,
// since a second fill of that leaves walk_end where the first one ended (Linux
// fs/proc/task_mmu.c:do_pagemap_scan, v6.18).
func (p *Pagemap) scanOnce(start, end uint64, q ScanQuery) (n int, walked uint64, err error) {
	arg := pmScanArg{
		flags: q.Flags, start: start, end: end,
		vec: &p.regions[0], vecLen: uint64(len(p.regions)),
		inverted: q.Inverted, mask: q.Mask, anyOf: q.AnyOf, ret: q.Return,
	}
	arg.size = uint64(unsafe.Sizeof(arg))
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, p.file.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return 0, 0, fmt.Errorf("%s: PAGEMAP_SCAN %#x-%#x: %w", p.file.Name(), start, end, errno)
	}
	return int(r), arg.walkEnd, nil
}
