package fdstate

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Object is the image record of a description of a file whose content is in
// the image: a memfd or an unlinked regular file.
type Object struct {
	ID    uint32 `cbor:"1,keyasint" json:"object"`
	Saved bool   `cbor:"2,keyasint,omitempty" json:"saved,omitempty"` // a regular file that has a name, saved by a rule
}

// isObject matches regular files without a name.
func isObject(d *Desc) bool {
	return isRegular(d) && d.Stat.Nlink == 0 && !strings.HasPrefix(d.Link, "/proc/") && !strings.HasPrefix(d.Link, "/sys/")
}

func captureObject(d *Desc, s *Survey) (Record, error) {
	if err := d.checkLocks(); err != nil {
		return nil, err
	}
	id, err := s.Env.Object(d.PID, d.FD, &d.Stat, d.Link)
	return &Object{ID: id}, err
}

// saveRegular saves a file that would be opened again by its name.
func saveRegular(d *Desc, s *Survey) (Record, error) {
	if err := d.checkLocks(); err != nil {
		return nil, err
	}
	if err := d.checkPath(); err != nil {
		return nil, err
	}
	id, err := s.Env.Object(d.PID, d.FD, &d.Stat, d.Link)
	if errors.Is(err, fs.ErrPermission) {
		return nil, Refuse("it cannot be read, and a rule says that it is saved", "")
	}
	return &Object{ID: id, Saved: true}, err
}

// inMemory tells whether the file is one of shm_open(3), which no reboot
// survives: it is saved without a rule, unless it has locks.
func (d *Desc) inMemory() bool {
	return strings.HasPrefix(d.Link, "/dev/shm/") && len(d.locks) == 0 && d.checkLocks() == nil
}

// Restore opens the object that is open already a second time, so that this
// description has its own position and flags. The way there is a link, which
// O_NOFOLLOW (as of shm_open(3)) would not go.
func (rec *Object) Restore(o *Opener, f *File, at Slot) error {
	o.Reopen(o.r.object(rec.ID), at, "open", f.Flags&^unix.O_NOFOLLOW)
	o.Seek(at.Num, f.Pos)
	return nil
}
