package fdstate

import (
	"errors"

	"golang.org/x/sys/unix"
)

// HungUp is the image record of a terminal that is gone for good: the master of
// the pty is closed. Reads give end of file, all else an error.
type HungUp struct {
	Index int `cbor:"1,keyasint,omitempty" json:"index"` // of /dev/pts/INDEX, which it once was
}

func captureHungUp(d *Desc, _ *Survey) (Record, error) {
	return &HungUp{Index: int(unix.Minor(d.Stat.Rdev))}, nil
}

// Check is for records out of an image.
func (rec *HungUp) Check(s *State) error { return (&Pty{Index: rec.Index}).Check(s) }

// Restore hangs up a new pty, with the old number if it is free.
func (rec *HungUp) Restore(o *Opener, f *File, at Slot) error {
	master, err := o.openMaster(rec.Index)
	var taken *IndexError
	if errors.As(err, &taken) {
		master = o.r.Reserve()
		o.OpenPath(Slot{master, true}, "open", "/dev/ptmx", unix.O_RDWR)
	} else if err != nil {
		return err
	}
	o.Call("ioctl TIOCSPTLCK", unix.SYS_IOCTL, master, unix.TIOCSPTLCK, flagBytes(false))
	flags := openFlags(f.Flags) | unix.O_NOCTTY
	o.Open(at, "ioctl TIOCGPTPEER", unix.SYS_IOCTL, master, unix.TIOCGPTPEER, flags)
	o.Call("close", unix.SYS_CLOSE, master)
	return nil
}

// KeepsFlags: they are given at once, since opening this way never waits.
func (*HungUp) KeepsFlags() {}
