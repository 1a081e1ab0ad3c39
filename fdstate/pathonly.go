package fdstate

import "golang.org/x/sys/unix"

// PathOnly is the image record of a descriptor that was opened with O_PATH:
// it stands for a place in the file system, and the file is not open.
type PathOnly struct {
	Type uint32 `cbor:"1,keyasint" json:"type"` // S_IFMT of the file
}

func isPathOnly(d *Desc) bool { return d.Info.Flags&unix.O_PATH != 0 }

func capturePathOnly(d *Desc, s *Survey) (Record, error) {
	if err := d.checkProcFile(s); err != nil {
		return nil, err
	}
	return &PathOnly{Type: d.mode()}, d.checkPath()
}

// Restore opens the name, a symbolic link itself if it was one (O_NOFOLLOW).
func (rec *PathOnly) Restore(o *Opener, f *File, at Slot) error {
	o.Open(at, "open", unix.SYS_OPENAT, unix.AT_FDCWD, f.Link, unix.O_PATH|f.Flags&(unix.O_NOFOLLOW|unix.O_DIRECTORY)|at.flag(), 0)
	o.stat(at.Num, func(st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != rec.Type {
			return &TypeError{Path: f.Link, Was: rec.Type, Mode: st.Mode}
		}
		return nil
	})
	return nil
}

// KeepsFlags: F_SETFL gives EBADF (man 2 open, O_PATH).
func (*PathOnly) KeepsFlags() {}
