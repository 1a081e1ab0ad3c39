package memstate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// FileID tells whether a mapped file is still the one that was mapped. Of a
// file that is mapped shared, and so is meant to change, there is the size
// only, below which it must not have shrunk.
type FileID struct {
	Size    int64  `cbor:"1,keyasint" json:"size"`
	MTime   int64  `cbor:"2,keyasint,omitempty" json:"mtime_ns,omitempty"` // of a file without build id
	BuildID string `cbor:"3,keyasint,omitempty" json:"build_id,omitempty"` // of a program or library
	Sum     uint64 `cbor:"4,keyasint,omitempty" json:"xxh3,omitempty"`     // of a small file without build id
}

// maxSummed is how large a file may be whose content is summed while the tree
// stands still: a few milliseconds.
const maxSummed = 4 << 20

func (id *FileID) String() string {
	switch {
	case id.BuildID != "":
		return fmt.Sprintf("size %d, build id %s", id.Size, id.BuildID)
	case id.MTime != 0:
		return fmt.Sprintf("size %d, modified %s", id.Size, time.Unix(0, id.MTime).UTC().Format(time.RFC3339Nano))
	}
	return fmt.Sprintf("size %d", id.Size)
}

// readFileID takes the identity of a file that is mapped private. A file that
// cannot be read, as some programs, has no build id and no sum.
func readFileID(path string, st *unix.Stat_t) FileID {
	f, err := os.Open(path)
	if err != nil {
		return FileID{Size: st.Size, MTime: st.Mtim.Nano()}
	}
	defer f.Close()
	id, _ := fileID(f, st)
	return id
}

// fileID takes the identity of a file. An error says that a part of the file
// that counts could not be read.
func fileID(f io.ReaderAt, st *unix.Stat_t) (FileID, error) {
	id := FileID{Size: st.Size}
	var err error
	if id.BuildID, err = buildID(f); id.BuildID != "" {
		return id, nil
	}
	id.MTime = st.Mtim.Nano()
	if st.Size <= maxSummed {
		sum := xxh3.New()
		n, failed := io.Copy(sum, io.NewSectionReader(f, 0, st.Size))
		if failed == nil && n == st.Size {
			id.Sum = sum.Sum64()
			return id, nil
		}
		err = errors.Join(err, failed)
	}
	return id, err
}

// same tells whether now is the file that id was taken of. The time of a copy
// may be another.
func (id *FileID) same(now *FileID) bool {
	if id.Size != now.Size || id.BuildID != now.BuildID {
		return false
	}
	return id.BuildID != "" || id.MTime == now.MTime || id.Sum != 0 && id.Sum == now.Sum
}

// ErrChanged says that a mapped file is not what it was.
var ErrChanged = errors.New("has changed since the snapshot")

// reached is a file that the path of a mapping leads to.
type reached struct {
	path string // as we see it
	stat unix.Stat_t
}

// reach looks whether the mapped file is still the one at its path. The
// processes of a tree map much the same files, and each is looked at once.
func (o *Objects) reach(p *Process, v *procfs.VMA) (reached, bool) {
	path := p.view.Path(v.Path)
	if v.Deleted {
		return reached{path: path}, false
	}
	f, known := o.reached[path]
	if !known {
		f.path = path
		_ = unix.Stat(path, &f.stat) // no file has inode 0
		if o.reached == nil {
			o.reached = map[string]reached{}
		}
		o.reached[path] = f
	}
	return f, f.stat.Ino == v.Ino
}

// identify takes the identity of a file that is mapped. Each file is read once:
// through a mapping, if there is one that shows what counts, since whoever
// watches the file would be told that it is opened. v is nil when none is known.
func (o *Objects) identify(f reached, p *task.Process, v *procfs.VMA) *FileID {
	if f.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil // a device such as /dev/zero has no content to change
	}
	if v != nil && v.Shared {
		return &FileID{Size: f.stat.Size}
	}
	key := inode{dev: f.stat.Dev, ino: f.stat.Ino}
	if id, known := o.ids[key]; known {
		return &id
	}
	if o.ids == nil {
		o.ids = map[inode]FileID{}
	}
	id, err := FileID{}, error(errNotShown)
	if v != nil {
		id, err = mappedFileID(p.PID, v, &f.stat)
	}
	if err != nil {
		id = readFileID(f.path, &f.stat)
	}
	o.ids[key] = id
	return &id
}

// Check compares the file at path with what was mapped.
func (id *FileID) Check(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("mapped file: %w", &fs.PathError{Op: "stat", Path: path, Err: err})
	}
	now := FileID{Size: st.Size, MTime: st.Mtim.Nano()}
	if id.MTime == 0 && id.BuildID == "" { // mapped shared
		if now.Size < id.Size {
			return fmt.Errorf("mapped file %s %w: size %d, was %d", path, ErrChanged, now.Size, id.Size)
		}
		return nil
	}
	if !id.same(&now) {
		now = readFileID(path, &st)
	}
	if !id.same(&now) {
		return fmt.Errorf("mapped file %s %w: %v; was %v", path, ErrChanged, &now, id)
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
	if s.MM.ExeObject == 0 {
		c.file(s.MM.Exe, s.MM.ExeID)
	}
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
