package fdstate

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Outside is the image record of a pipe or terminal that leads out of the
// tree. It becomes what the restart has in its place.
type Outside struct {
	// Std has the numbers, out of 0, 1 and 2, under which the root process
	// has it or, if it does not, any process.
	Std []int `cbor:"1,keyasint,omitempty" json:"std,omitempty"`

	// Like is a number under which another description of the same object
	// stands in Std there, or -1.
	Like int `cbor:"2,keyasint" json:"like"`

	Terminal *Terminal `cbor:"3,keyasint,omitempty" json:"terminal,omitempty"`
}

// markOutside makes descriptions of one object Outside, as far as there is
// something to take its place: restart's stdin, stdout and stderr, and the
// controlling terminal.
func (s *Survey) markOutside(descs []*Desc, tty *Terminal) {
	like := -1
	std := make([][]int, len(descs))
	for i, d := range descs {
		if std[i] = d.stdNumbers(); len(std[i]) > 0 && like < 0 {
			like = std[i][0]
		}
	}
	for i, d := range descs {
		if like >= 0 || tty != nil && s.controls(d, tty) {
			d.outside = &Outside{Std: std[i], Like: like, Terminal: tty}
		}
	}
}

// stdNumbers gives the numbers out of 0, 1 and 2 that the root process has the
// description under or, if it has it under none, any process.
func (d *Desc) stdNumbers() []int {
	var root, any []int
	for _, u := range d.Users {
		if u.Num > 2 {
			continue
		}
		if u.Proc == 0 {
			root = append(root, u.Num)
		}
		if !slices.Contains(any, u.Num) {
			any = append(any, u.Num)
		}
	}
	if len(root) > 0 {
		return root
	}
	slices.Sort(any)
	return any
}

func captureOutside(d *Desc, _ *Survey) (Record, error) { return d.outside, nil }

// pick tells which of restart's own takes the place of descriptor num.
func (rec *Outside) pick(num int) int {
	for _, want := range []int{num, 1} {
		if slices.Contains(rec.Std, want) {
			return want
		}
	}
	return rec.Std[0]
}

// Check is for records out of an image.
func (rec *Outside) Check(*State) error {
	for _, num := range append(slices.Clone(rec.Std), max(rec.Like, 0)) {
		if num < 0 || num > 2 {
			return fmt.Errorf("%d is not the number of stdin, stdout or stderr", num)
		}
	}
	return nil
}

// Restore has nothing to open for what is restart's stdin, stdout or stderr.
// A description of its own is a second open of the terminal, where there is
// one.
func (rec *Outside) Restore(o *Opener, f *File, at Slot) error {
	if len(rec.Std) > 0 {
		if f.Flags&unix.O_NONBLOCK != 0 {
			o.Then(func() error { return rec.setNonblock(o) })
		}
		return nil
	}
	if err := o.Run(); err != nil {
		return err
	}
	std := o.r.stdLike(rec)
	num, err := rec.reopen(o, f, std)
	if err != nil {
		o.Dup(o.r.std[std], at)
		return nil
	}
	o.used.add(num)
	o.move(num, at)
	o.Call("fcntl F_SETFL", unix.SYS_FCNTL, at.Num, unix.F_SETFL, f.Flags&^unix.O_ASYNC)
	return nil
}

// stdLike chooses which of restart's own stands for a description that was
// none of them: one that is the same object or, for a terminal, a terminal.
func (r *Restorer) stdLike(rec *Outside) int {
	if rec.Like >= 0 {
		return rec.Like
	}
	return max(slices.Index(r.stdTTY[:], true), 0)
}

// reopen makes a new description of a terminal. Other things are never opened
// again: a file that restart's output goes to would be written over.
func (rec *Outside) reopen(o *Opener, f *File, std int) (int, error) {
	flags := openFlags(f.Flags) | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	var names []string
	if rec.Terminal != nil {
		names = append(names, "/dev/tty")
	}
	if o.r.stdTTY[std] {
		names = append(names, fmt.Sprintf("/proc/self/fd/%d", o.r.std[std]))
	}
	err := error(unix.ENXIO)
	for _, name := range names {
		var num int64
		if num, err = o.Proc.Call(unix.SYS_OPENAT, unix.AT_FDCWD, name, flags, 0); err == nil {
			return int(num), nil
		}
	}
	return -1, err
}

// setNonblock adds O_NONBLOCK to restart's own, as the program had done.
func (rec *Outside) setNonblock(o *Opener) error {
	for _, std := range rec.Std {
		fd, err := o.Copy(o.r.std[rec.pick(std)])
		if err != nil {
			return err
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK)
		}
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("fcntl F_SETFL: %w", err)
		}
	}
	return nil
}

// KeepsFlags: restart's own keep theirs.
func (*Outside) KeepsFlags() {}
