package fdstate

import "golang.org/x/sys/unix"

// Directory is the image record of an open directory. Its position is a
// cookie that is the same for as long as the directory's file system is.
type Directory struct{}

func isDirectory(d *Desc) bool { return d.mode() == unix.S_IFDIR }

func captureDirectory(d *Desc, s *Survey) (Record, error) {
	if err := d.checkLocks(); err != nil {
		return nil, err
	}
	if err := d.checkProcFile(s); err != nil {
		return nil, err
	}
	return &Directory{}, d.checkPath()
}

// Restore opens the directory by name.
func (*Directory) Restore(o *Opener, f *File, at Slot) error {
	o.OpenPath(at, "open", f.Link, f.Flags|unix.O_DIRECTORY)
	o.Seek(at.Num, f.Pos)
	return nil
}
