package memstate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/memimg"
)

// ObjectKind says what a memory object is.
type ObjectKind uint8

// Kinds of objects. The numbers are in images.
const (
	SharedAnonymous ObjectKind = 1 // mmap(MAP_SHARED|MAP_ANONYMOUS)
	Memfd           ObjectKind = 2
	UnlinkedFile    ObjectKind = 3
)

// Object is memory that mappings and descriptors of the tree share, and that
// no path leads to: its content is in the image.
type Object struct {
	ID    uint32     `cbor:"1,keyasint" json:"id"`
	Space uint32     `cbor:"2,keyasint" json:"space"` // of its pages in the image
	Kind  ObjectKind `cbor:"3,keyasint" json:"kind"`
	Name  string     `cbor:"4,keyasint" json:"name"` // of a memfd; path of a file
	Size  int64      `cbor:"5,keyasint" json:"size"`
	Seals int        `cbor:"6,keyasint,omitempty" json:"seals,omitempty"`
	Mode  uint32     `cbor:"7,keyasint,omitempty" json:"mode,omitempty"`

	NoReserve bool `cbor:"8,keyasint,omitempty" json:"noreserve,omitempty"` // MAP_NORESERVE, of shared anonymous memory
}

// Objects gathers the memory objects of a tree during a snapshot.
type Objects struct {
	NewSpace func() uint32 // hands out space numbers

	list  []*liveObject
	byIno map[inode]*liveObject
}

type inode struct{ dev, ino uint64 }

// liveObject is an object and the ways to its content: a descriptor of ours,
// or the mappings that show parts of it.
type liveObject struct {
	Object
	file     *os.File
	mappings []mapping
	swapped  bool
}

// mapping is one view of an object.
type mapping struct {
	held       *task.Process
	start, end uint64
	offset     uint64
}

// isObject tells whether a file mapping has no path that leads to the file.
func isObject(v *procfs.VMA) bool {
	if !v.Deleted {
		return false
	}
	return v.Shared && v.Path == "/dev/zero" || strings.HasPrefix(v.Path, "/memfd:")
}

func (o *Objects) get(key inode) (obj *liveObject, fresh bool) {
	if obj := o.byIno[key]; obj != nil {
		return obj, false
	}
	if o.byIno == nil {
		o.byIno = map[inode]*liveObject{}
	}
	obj = &liveObject{Object: Object{ID: uint32(len(o.list) + 1), Space: o.NewSpace()}}
	o.list = append(o.list, obj)
	o.byIno[key] = obj
	return obj, true
}

// Object registers the memfd or the unlinked file behind a descriptor, and
// returns its id.
func (o *Objects) Object(pid task.PID, fd int, st *unix.Stat_t, link string) (uint32, error) {
	obj, fresh := o.get(inode{st.Dev, st.Ino})
	if !fresh && obj.file != nil {
		return obj.ID, nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	if err != nil {
		return 0, err
	}
	obj.file, obj.Size, obj.Mode = f, st.Size, st.Mode&0o7777
	path, _ := procfs.CutDeleted(link)
	obj.Kind, obj.Name = UnlinkedFile, path
	if name, ok := strings.CutPrefix(path, "/memfd:"); ok {
		obj.Kind, obj.Name = Memfd, name
		obj.Seals, err = unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	}
	return obj.ID, err
}

// fromMapping registers the object behind a mapping. Descriptors have been
// looked at before: an object that no descriptor leads to is reached through
// its mappings.
func (o *Objects) fromMapping(p Process, v *procfs.VMA) (id uint32, why string) {
	dev := unix.Mkdev(v.DevMajor, v.DevMinor)
	obj, _ := o.get(inode{dev, v.Ino})
	obj.mappings = append(obj.mappings, mapping{p.Held, v.Start, v.End, v.Offset})
	obj.swapped = obj.swapped || v.Swap > 0
	if obj.file != nil {
		return obj.ID, ""
	}
	obj.Kind, obj.NoReserve = SharedAnonymous, v.Flags.Has("nr")
	if name, ok := strings.CutPrefix(v.Path, "/memfd:"); ok {
		if !v.Shared {
			return 0, "a private mapping of a memfd that no descriptor leads to"
		}
		obj.Kind, obj.Name, obj.Mode = Memfd, name, 0o777
	}
	obj.Size = max(obj.Size, int64(v.Offset+v.Len()))
	return obj.ID, ""
}

// Records gives the records of all objects.
func (o *Objects) Records() []Object {
	var recs []Object
	for _, obj := range o.list {
		recs = append(recs, obj.Object)
	}
	return recs
}

// Close closes the descriptors.
func (o *Objects) Close() {
	for _, obj := range o.list {
		if obj.file != nil {
			obj.file.Close()
		}
	}
}

// Dumps finds the pages of all objects. Processes with mappings are infected.
func (o *Objects) Dumps() ([]memimg.Dump, error) {
	var dumps []memimg.Dump
	for _, obj := range o.list {
		ranges, err := obj.ranges()
		if err != nil {
			return nil, fmt.Errorf("memory object %s: %w", filepath.Base(obj.Name), err)
		}
		dumps = append(dumps, memimg.Dump{Space: obj.Space, Source: obj, Ranges: ranges})
	}
	return dumps, nil
}
