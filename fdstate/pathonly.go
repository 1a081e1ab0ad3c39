package fdstate

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// PathOnly is the image record of a descriptor that was opened with O_PATH:
// it stands for a place in the file system, and the file is not open.
type PathOnly struct {
	Type uint32 `cbor:"1,keyasint" json:"type"` // S_IFMT of the file

	// Without a name it is one of these: a memory object, a directory that was
	// removed, or what the same process has open at another number.
	Object  uint32      `cbor:"2,keyasint,omitempty" json:"object,omitempty"`
	Removed *RemovedDir `cbor:"3,keyasint,omitempty" json:"removed,omitempty"`
	Opened  bool        `cbor:"4,keyasint,omitempty" json:"opened,omitempty"`
	Number  int         `cbor:"5,keyasint,omitempty" json:"number,omitempty"`
}

func isPathOnly(d *Desc) bool { return d.Info.Flags&unix.O_PATH != 0 }

func capturePathOnly(d *Desc, s *Survey) (Record, error) {
	if err := d.checkProcFile(s); err != nil {
		return nil, err
	}
	rec := &PathOnly{Type: d.mode(), Removed: d.removedDir()}
	switch {
	case rec.Removed != nil:
		return rec, nil
	case isObject(d):
		var err error
		rec.Object, err = s.Env.Object(d.PID, d.FD, &d.Stat, d.Link)
		if errors.Is(err, fs.ErrPermission) {
			return nil, Refuse("it has no name, and cannot be read", "")
		}
		return rec, err
	case !strings.HasPrefix(d.Link, "/") || d.Stat.Nlink == 0:
		rec.Opened = true
		return rec, rec.findOpened(d, s)
	}
	return rec, d.checkPath()
}

// findOpened finds another descriptor of the same file, which has no name: a
// pipe, a socket, a fifo or a socket's file that was removed.
func (rec *PathOnly) findOpened(d *Desc, s *Survey) error {
	for _, other := range s.byInode[inode{d.Stat.Dev, d.Stat.Ino}] {
		for _, u := range other.Users {
			if u.Proc == d.Proc && !isPathOnly(other) { // a process, so it is not in flight
				rec.Number = u.Num
				return nil
			}
		}
	}
	return Refuse("it has no name, and the process has the file open at no other number", "")
}

// inBuilder tells that the builder opens it: what is removed is made once.
func (rec *PathOnly) inBuilder() bool { return rec.Removed != nil }

// late tells that Link opens it: what it is the same as is open by then, and the
// files of unix sockets are there.
func (rec *PathOnly) late() bool { return rec.Opened || rec.Type == unix.S_IFSOCK }

// Restore opens the name, a symbolic link itself if it was one (O_NOFOLLOW).
func (rec *PathOnly) Restore(o *Opener, f *File, at Slot) error {
	name, flags := f.Link, unix.O_PATH|f.Flags&unix.O_DIRECTORY
	switch {
	case rec.Object != 0:
		name = selfPath(o.r.object(rec.Object))
	case rec.Removed != nil:
		num, err := rec.Removed.hold(o, f.Link)
		if err != nil {
			return err
		}
		name = selfPath(num)
	case rec.Opened:
		name = selfPath(rec.Number)
	default:
		flags |= f.Flags & unix.O_NOFOLLOW
	}
	o.Open(at, "open", unix.SYS_OPENAT, unix.AT_FDCWD, name, flags|at.flag(), 0)
	o.stat(at.Num, func(st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != rec.Type {
			return &TypeError{Path: f.Link, Was: rec.Type, Mode: st.Mode}
		}
		return nil
	})
	return nil
}

// selfPath leads to what descriptor num is, as a link.
func selfPath(num int) string { return fmt.Sprintf("/proc/self/fd/%d", num) }

// Check is for records out of an image.
func (rec *PathOnly) Check(*State) error {
	if rec.Number < 0 || rec.Number > maxNumber {
		return fmt.Errorf("number %d", rec.Number)
	}
	return nil
}

// KeepsFlags: F_SETFL gives EBADF (man 2 open, O_PATH).
func (*PathOnly) KeepsFlags() {}
