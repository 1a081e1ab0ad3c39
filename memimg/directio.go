package memimg

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// alignedBuffer returns n bytes of memory at the start of a page, which
// O_DIRECT asks for (man 2 open, NOTES). Give it back with freeBuffer.
func alignedBuffer(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap a buffer of %d bytes: %w", n, err)
	}
	return b, nil
}

// freeBuffer gives the memory of alignedBuffer back. It must not be used again.
func freeBuffer(b []byte) { _ = unix.Munmap(b) }

// A directFile is a file opened with O_DIRECT, where its file system allows
// that. Its buffers, offsets and sizes are multiples of PageSize; a device with
// larger blocks gets ordinary reads and writes, like a file system without
// O_DIRECT.
type directFile struct {
	*os.File
	direct atomic.Bool
}

// openDirect opens the file at path like os.OpenFile.
func openDirect(path string, flag int, perm os.FileMode) (*directFile, error) {
	f, err := os.OpenFile(path, flag|unix.O_DIRECT, perm)
	d := &directFile{File: f}
	d.direct.Store(true)
	if errors.Is(err, unix.EINVAL) {
		// With O_CREAT the file is there now: the refusal comes late (Linux
		// fs/open.c:do_dentry_open, v6.12).
		d.File, err = os.OpenFile(path, flag&^os.O_EXCL|unix.O_NOFOLLOW, perm)
		d.direct.Store(false)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// WriteAt writes all of b.
func (d *directFile) WriteAt(b []byte, off int64) (int, error) {
	was := d.direct.Load()
	n, err := d.File.WriteAt(b, off)
	if was && errors.Is(err, unix.EINVAL) && d.fallBack() {
		n, err = d.File.WriteAt(b, off)
	}
	return n, err
}

// ReadAt fills b, or fails with io.EOF.
func (d *directFile) ReadAt(b []byte, off int64) (int, error) {
	was := d.direct.Load()
	n, err := d.File.ReadAt(b, off)
	if was && errors.Is(err, unix.EINVAL) && d.fallBack() {
		n, err = d.File.ReadAt(b, off)
	}
	return n, err
}

// fallBack turns O_DIRECT off for d.
func (d *directFile) fallBack() bool {
	flags, err := unix.FcntlInt(d.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(d.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT)
	}
	d.direct.Store(false)
	return err == nil
}

// cached reports whether all of the n bytes of f at off are in the page cache,
// from where they come faster than from the disk. False where the kernel does
// not tell (before 6.5, or to one who may not write the file).
func cached(f *os.File, off int64, n int) bool {
	var stat unix.Cachestat_t
	at := unix.CachestatRange{Off: uint64(off), Len: uint64(n)}
	if err := unix.Cachestat(uint(f.Fd()), &at, &stat, 0); err != nil {
		return false
	}
	return stat.Cache*PageSize >= uint64(n)
}
