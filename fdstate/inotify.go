package fdstate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// inotifySetNext is INOTIFY_IOC_SETNEXTWD (Linux include/uapi/linux/inotify.h).
// It needs CONFIG_CHECKPOINT_RESTORE.
const inotifySetNext = 0x40044900

// Inotify is the image record of an inotify(7) instance. Events that wait to
// be read are not in it: the kernel lets nobody look at them without taking
// them out, and has no way to put them back (Linux
// fs/notify/inotify/inotify_user.c:inotify_read, v6.12; an event is queued
// only by what happens to a file, behind what others do to it meanwhile). So a
// snapshot waits a moment for the program to read them. If it does not, they
// stay where they are, and a program that is restarted is told in the way that
// the kernel tells of lost events: by IN_Q_OVERFLOW.
type Inotify struct {
	Watches []Watch `cbor:"1,keyasint,omitempty" json:"watches,omitempty"`
	Lost    bool    `cbor:"2,keyasint,omitempty" json:"lost,omitempty"` // events waited to be read
}

// Watch is one watch of an inotify instance.
type Watch struct {
	WD   int       `cbor:"1,keyasint" json:"wd"`
	Mask uint32    `cbor:"2,keyasint,omitempty" json:"mask"` // IN_*
	File WatchName `cbor:"3,keyasint" json:"file"`
}

func captureInotify(d *Desc, s *Survey) (Record, error) {
	watches, err := d.Info.Inotify()
	if err != nil {
		return nil, err
	}
	unread := d.refuseEvents()
	var refused *Refusal
	lost := s.waited && errors.As(unread, &refused)
	if unread != nil && !lost {
		return nil, unread
	}
	names, err := s.findWatched()
	if err != nil {
		return nil, err
	}
	rec := &Inotify{Lost: lost}
	for _, w := range watches {
		file := names.found[watchKey(w.Sdev, w.Ino, w.HandleType, w.Handle)]
		if file == nil {
			return nil, Refuse(fmt.Sprintf("the file of its watch %d (inode %d of device %d:%d) was not found by any name",
				w.WD, w.Ino, w.Sdev>>20, w.Sdev&(1<<20-1)), "root finds every file that still has a name")
		}
		rec.Watches = append(rec.Watches, Watch{WD: w.WD, Mask: w.Mask, File: *file})
	}
	slices.SortFunc(rec.Watches, func(a, b Watch) int { return cmp.Compare(a.WD, b.WD) })
	return rec, nil
}

// refuseEvents refuses an instance with events to be read.
func (d *Desc) refuseEvents() error {
	return d.look(func(fd int) error {
		n, err := unix.IoctlGetInt(fd, fionread)
		if err != nil {
			return fmt.Errorf("ioctl FIONREAD: %w", err)
		}
		if n > 0 {
			return RefuseNow(fmt.Sprintf("%d bytes of events wait to be read from it", n))
		}
		return nil
	})
}

// Restore makes an instance without watches. What is put into its queue comes
// before it has an owner, who would get signals for it.
func (rec *Inotify) Restore(o *Opener, _ *File, at Slot) error {
	o.Open(at, "inotify_init1", unix.SYS_INOTIFY_INIT1, at.flag())
	if rec.Lost {
		o.Then(func() error {
			in, err := o.Copy(at.Num)
			if err != nil {
				return err
			}
			defer unix.Close(in)
			return overflowInotify(in)
		})
	}
	return nil
}

// Check is for records out of an image.
func (rec *Inotify) Check(*State) error {
	last := 0
	for _, w := range rec.Watches {
		if w.WD <= last {
			return fmt.Errorf("watch %d after %d", w.WD, last)
		}
		last = w.WD
	}
	return nil
}

// Watch adds the watches with their old numbers. The kernel takes no mask
// without a bit; IN_UNMOUNT is always reported, so asking for it changes
// nothing.
func (rec *Inotify) Watch(o *Opener, num int) {
	for _, w := range rec.Watches {
		o.Call("ioctl INOTIFY_IOC_SETNEXTWD", unix.SYS_IOCTL, num, inotifySetNext, w.WD)
		mask := w.Mask | unix.IN_UNMOUNT
		if !w.File.Follow {
			mask |= unix.IN_DONT_FOLLOW
		}
		what := "inotify_add_watch " + w.File.Path
		c := o.Call(what, unix.SYS_INOTIFY_ADD_WATCH, num, w.File.Path, mask)
		o.Then(func() error {
			if int(c.Ret) != w.WD {
				return fmt.Errorf("%s: came as watch %d, not %d: %w", what, c.Ret, w.WD, errSameFile)
			}
			return nil
		})
	}
}

// errSameFile explains a watch with a wrong number.
var errSameFile = errors.New("its name leads to the file of another watch")
