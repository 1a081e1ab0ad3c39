package memstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// FileID tells whether a mapped file is still the one that was mapped.
type FileID struct {
	Size  int64 `cbor:"1,keyasint" json:"size"`
	MTime int64 `cbor:"2,keyasint" json:"mtime_ns"`
}

// ErrChanged says that a mapped file is not what it was.
var ErrChanged = errors.New("has changed since the snapshot")

func fileID(st *unix.Stat_t) FileID {
	return FileID{Size: st.Size, MTime: st.Mtim.Nano()}
}

// identify checks that the mapped file is still reached by its path, and
// takes its identity. Shared mappings have none: their file is meant to change.
func identify(pid task.PID, v *procfs.VMA) (id *FileID, why string) {
	if v.Deleted {
		return nil, "its file has been deleted"
	}
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/root%s", pid, v.Path), &st); err != nil {
		return nil, "its file cannot be reached by its path: " + err.Error()
	}
	if st.Ino != v.Ino {
		return nil, "its file has been replaced by another of the same name"
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, "" // a device such as /dev/zero has no content to change
	}
	if v.Shared {
		return nil, ""
	}
	f := fileID(&st)
	return &f, ""
}

// Check compares the file at path with what was mapped.
func (id *FileID) Check(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("mapped file: %w", &fs.PathError{Op: "stat", Path: path, Err: err})
	}
	if now := fileID(&st); now != *id {
		return fmt.Errorf("mapped file %s %w: size %d, modified %d; was size %d, modified %d",
			path, ErrChanged, now.Size, now.MTime, id.Size, id.MTime)
	}
	return nil
}

// FileCheck finds out which of the files that a tree maps are not as they
// were, before anything is built. Each path is looked at once.
type FileCheck struct {
	seen map[string]bool
	errs []error
}

// Add checks the files that a space maps.
func (c *FileCheck) Add(s *Space) {
	for i := range s.VMAs {
		if v := &s.VMAs[i]; v.Kind == File {
			c.path(v.Path, v.File)
		}
	}
	c.path(s.MM.Exe, &s.MM.ExeID)
}

func (c *FileCheck) path(path string, id *FileID) {
	if c.seen[path] {
		return
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	c.seen[path] = true
	if id != nil {
		c.errs = append(c.errs, id.Check(path))
	} else if _, err := os.Stat(path); err != nil {
		c.errs = append(c.errs, fmt.Errorf("mapped file: %w", err))
	}
}

// Err is everything that was found.
func (c *FileCheck) Err() error { return errors.Join(c.errs...) }
