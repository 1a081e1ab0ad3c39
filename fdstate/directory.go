package fdstate

import "golang.org/x/sys/unix"

// Directory is the image record of an open directory. Its position is a
// cookie that is the same for as long as the directory's file system is.
type Directory struct {
	Removed *RemovedDir `cbor:"1,keyasint,omitempty" json:"removed,omitempty"`
}

func isDirectory(d *Desc) bool { return d.mode() == unix.S_IFDIR }

func captureDirectory(d *Desc, s *Survey) (Record, error) {
	if err := d.checkLocks(); err != nil {
		return nil, err
	}
	if err := d.checkProcFile(s); err != nil {
		return nil, err
	}
	rec := &Directory{Removed: d.removedDir()}
	if rec.Removed != nil {
		return rec, nil
	}
	return rec, d.checkPath()
}

// inBuilder tells that the builder opens it: what is removed is made once.
func (rec *Directory) inBuilder() bool { return rec.Removed != nil }

// Restore opens the directory by name.
func (rec *Directory) Restore(o *Opener, f *File, at Slot) error {
	if rec.Removed != nil {
		num, err := rec.Removed.hold(o, f.Link)
		if err != nil {
			return err
		}
		o.Reopen(num, at, "open", f.Flags|unix.O_DIRECTORY)
		return nil
	}
	o.OpenPath(at, "open", f.Link, f.Flags|unix.O_DIRECTORY)
	o.Seek(at.Num, f.Pos)
	return nil
}
