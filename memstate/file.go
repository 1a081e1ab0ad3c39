package memstate

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// FileID tells whether a mapped file is still the one that was mapped. A file
// that is mapped shared is meant to change, but must not be shorter: it has
// no MTime.
type FileID struct {
	Size  int64 `cbor:"1,keyasint" json:"size"`
	MTime int64 `cbor:"2,keyasint,omitempty" json:"mtime_ns,omitempty"`
}

// ErrChanged says that a mapped file is not what it was.
var ErrChanged = errors.New("has changed since the snapshot")

func fileID(st *unix.Stat_t) FileID {
	return FileID{Size: st.Size, MTime: st.Mtim.Nano()}
}

// identify checks that the mapped file is still reached by its path, and
// takes its identity.
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
	f := fileID(&st)
	if v.Shared {
		f.MTime = 0
	}
	return &f, ""
}

// Check compares the file at path with what was mapped.
func (id *FileID) Check(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("mapped file: %w", &fs.PathError{Op: "stat", Path: path, Err: err})
	}
	now := fileID(&st)
	if id.MTime == 0 && now.Size < id.Size {
		return fmt.Errorf("mapped file %s %w: size %d, was %d", path, ErrChanged, now.Size, id.Size)
	}
	if id.MTime != 0 && now != *id {
		return fmt.Errorf("mapped file %s %w: size %d, modified %d; was size %d, modified %d",
			path, ErrChanged, now.Size, now.MTime, id.Size, id.MTime)
	}
	return nil
}

// FileCheck finds out which of the files that a tree maps are not as they
// were, before anything is built. Each is looked at once.
type FileCheck struct {
	seen map[fileKey]bool
	errs []error
}

type fileKey struct {
	path string
	id   FileID
}

// Add checks the files that a space maps.
func (c *FileCheck) Add(s *Space) {
	for i := range s.VMAs {
		v := &s.VMAs[i]
		switch {
		case v.Kind != File:
		case v.File != nil:
			c.file(v.Path, *v.File)
		default:
			c.file(v.Path, FileID{}) // a device: it need only be there
		}
	}
	c.file(s.MM.Exe, s.MM.ExeID)
}

func (c *FileCheck) file(path string, id FileID) {
	key := fileKey{path, id}
	if c.seen[key] {
		return
	}
	if c.seen == nil {
		c.seen = map[fileKey]bool{}
	}
	c.seen[key] = true
	if err := id.Check(path); err != nil {
		c.errs = append(c.errs, err)
	}
}

// Err is everything that was found.
func (c *FileCheck) Err() error { return errors.Join(c.errs...) }
