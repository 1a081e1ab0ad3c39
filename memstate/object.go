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
	Segment         ObjectKind = 4 // System V shared memory
	SavedFile       ObjectKind = 9 // has a name, and a rule says that its content is saved
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

	NoReserve bool  `cbor:"8,keyasint,omitempty" json:"noreserve,omitempty"` // MAP_NORESERVE, of shared anonymous memory
	Exec      bool  `cbor:"9,keyasint,omitempty" json:"exec,omitempty"`      // mapped to be run
	Program   bool  `cbor:"10,keyasint,omitempty" json:"program,omitempty"`  // /proc/PID/exe of a process
	Huge      uint8 `cbor:"11,keyasint,omitempty" json:"huge,omitempty"`     // hugetlb: log2 of the page size
	Segment   int   `cbor:"12,keyasint,omitempty" json:"segment,omitempty"`  // id of a System V segment

	Saved *Saved `cbor:"20,keyasint,omitempty" json:"saved,omitempty"` // of a saved file
}

// Objects gathers the memory objects of a tree during a snapshot.
type Objects struct {
	NewSpace func() uint32 // hands out space numbers

	list  []*liveObject
	byIno map[inode]*liveObject
	ids   map[inode]FileID

	reached map[string]reached // by path

	attached map[int]Attachment // by id of a segment
}

// inode names an object. Segments have numbers of their own, on the same
// device as shared anonymous memory.
type inode struct {
	dev, ino uint64
	segment  bool
}

// liveObject is an object and the ways to its content: a descriptor of ours,
// or the mappings that show parts of it.
type liveObject struct {
	Object
	file    *os.File
	names   uint64 // links that the file still has
	views   []view
	swapped bool
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

// Object registers the memfd, the unlinked file or the file to be saved behind
// a descriptor, and returns its id.
func (o *Objects) Object(pid task.PID, fd int, st *unix.Stat_t, link string) (uint32, error) {
	obj, fresh := o.get(inode{dev: st.Dev, ino: st.Ino})
	if !fresh && obj.file != nil {
		return obj.ID, nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	if err != nil {
		return 0, err
	}
	path, _ := procfs.CutDeleted(link)
	obj.Kind, obj.Name = UnlinkedFile, path
	if st.Nlink > 0 {
		obj.Kind, obj.Saved = SavedFile, saved(st)
	}
	if name, ok := strings.CutPrefix(path, "/memfd:"); ok {
		obj.Kind, obj.Name = Memfd, name
	}
	return obj.ID, obj.setFile(f, st)
}

// fromMapping registers the object behind a mapping. Descriptors have been
// looked at before: an object that no descriptor leads to is reached through
// its mappings, or, with privilege, through the link that the kernel has for
// each (man 5 proc, /proc/PID/map_files).
func (o *Objects) fromMapping(p *Process, v *procfs.VMA) (id uint32, why string) {
	key := inode{dev: unix.Mkdev(v.DevMajor, v.DevMinor), ino: v.Ino}
	if isSegment(v) {
		key = segmentKey(int(v.Ino))
		o.addAttachment(v)
	}
	obj, fresh := o.get(key)
	if fresh {
		obj.name(v)
		obj.openMapped(p.Held.PID, v)
	}
	if obj.Kind == UnlinkedFile && obj.names > 0 && v.Shared {
		return 0, "its file cannot be reached by its path, but has another name"
	}
	obj.Exec = obj.Exec || v.Exec
	obj.swapped = obj.swapped || v.Swap > 0
	if obj.file == nil {
		if err := obj.addView(p.Held, v); err != nil {
			return 0, err.Error()
		}
	}
	return obj.ID, ""
}

// name says what the object is by what the kernel calls its mapping.
func (obj *liveObject) name(v *procfs.VMA) {
	memfd, isMemfd := strings.CutPrefix(v.Path, "/memfd:")
	switch {
	case isMemfd:
		obj.Kind, obj.Name, obj.Mode = Memfd, memfd, 0o777
	case isSegment(v):
		obj.Kind, obj.Segment, obj.Name = Segment, int(v.Ino), v.Path
	case v.Path == "/dev/zero":
		obj.Kind, obj.Name, obj.NoReserve = SharedAnonymous, v.Path, v.Flags.Has("nr")
	default:
		obj.Kind, obj.Name, obj.Mode = UnlinkedFile, v.Path, 0o600
	}
	if hugePage(v) != 0 {
		obj.setHuge(v.PageSize)
	}
}

// openMapped opens the object through its mapping, which takes privilege.
func (obj *liveObject) openMapped(pid task.PID, v *procfs.VMA) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, v.Start, v.End))
	if err != nil {
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != v.Ino {
		f.Close()
		return
	}
	if obj.setFile(f, &st) != nil {
		obj.file = nil
		f.Close()
	}
}

// setFile takes what the descriptor f tells of the object.
func (obj *liveObject) setFile(f *os.File, st *unix.Stat_t) error {
	obj.file, obj.names, obj.Size, obj.Mode = f, st.Nlink, st.Size, st.Mode&0o7777
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return err
	}
	if fs.Type == unix.HUGETLBFS_MAGIC {
		obj.setHuge(uint64(fs.Bsize))
	}
	if obj.Kind != Memfd {
		return nil
	}
	var err error
	obj.Seals, err = unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err
}

// Program registers the program of a process if its path does not lead to it
// any more, and returns its id, else 0. The link /proc/PID/exe does.
func (o *Objects) Program(pid task.PID) (uint32, error) {
	exe, err := procfs.Exe(int(pid))
	if err != nil {
		return 0, err
	}
	link := fmt.Sprintf("/proc/%d/exe", pid)
	var there, now unix.Stat_t
	if err := unix.Stat(link, &now); err != nil {
		return 0, err
	}
	err = unix.Stat(procfs.Reach(int(pid), exe), &there)
	if err == nil && there.Dev == now.Dev && there.Ino == now.Ino {
		return 0, nil
	}
	obj, fresh := o.get(inode{dev: now.Dev, ino: now.Ino})
	obj.Program = true
	if !fresh && obj.file != nil {
		return obj.ID, nil
	}
	path, _ := procfs.CutDeleted(exe)
	obj.Kind, obj.Name, obj.Size, obj.Mode = UnlinkedFile, path, now.Size, now.Mode&0o7777
	obj.file, err = os.Open(link)
	return obj.ID, err
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
