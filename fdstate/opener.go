package fdstate

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Slot is where a description is to be opened.
type Slot struct {
	Num         int
	CloseOnExec bool
}

// flag is the slot's O_CLOEXEC, for calls that take flags.
func (at Slot) flag() int {
	if at.CloseOnExec {
		return unix.O_CLOEXEC
	}
	return 0
}

// Opener makes descriptors in one bare process. Its calls are queued and run
// in one stop. That works because the kernel gives out the lowest free number
// (man 2 open): the number a queued call will return is known beforehand, and
// checked afterwards.
type Opener struct {
	Proc *task.Process

	r      *Restorer
	shared bool // in the builder, for several processes
	used   numbers
	known  map[*task.Process]bool // keepers that it has a pidfd of
	batch  task.Batch
	then   []func() error // in the order of the calls
}

// numbers is a set of descriptor numbers that gives the lowest free one.
type numbers struct {
	used     map[int]bool
	reserved map[int]bool // in use as well
	low      int          // nothing below is free
}

func (n *numbers) add(num int) { n.used[num] = true }

func (n *numbers) remove(num int) {
	delete(n.used, num)
	n.low = min(n.low, num)
}

func (n *numbers) lowest() int {
	for n.used[n.low] || n.reserved[n.low] {
		n.low++
	}
	return n.low
}

// Call queues a system call. what begins the error if it fails.
func (o *Opener) Call(what string, nr uintptr, args ...any) *task.Call {
	c := o.batch.Add(nr, args...).Optional()
	o.Then(func() error {
		if err := c.Err(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
	return c
}

// Open queues a system call that returns a new descriptor, and puts it into
// the slot.
func (o *Opener) Open(at Slot, what string, nr uintptr, args ...any) {
	num := o.used.lowest()
	c := o.Call(what, nr, args...)
	o.Then(func() error { return o.expect(what, c.Ret, num) })
	o.used.add(num)
	o.move(num, at)
}

func (o *Opener) expect(what string, got int64, num int) error {
	if got != int64(num) {
		return fmt.Errorf("%s: came as descriptor %d, not %d", what, got, num)
	}
	return nil
}

// move queues what brings a new descriptor to its slot.
func (o *Opener) move(num int, at Slot) {
	if num == at.Num {
		o.Call("set close-on-exec", unix.SYS_FCNTL, num, unix.F_SETFD, at.CloseOnExec)
		return
	}
	o.Dup(num, at)
	o.Call("close", unix.SYS_CLOSE, num)
	o.used.remove(num)
}

// Dup queues a copy of a descriptor.
func (o *Opener) Dup(num int, at Slot) {
	o.Call(fmt.Sprintf("dup3 %d to %d", num, at.Num), unix.SYS_DUP3, num, at.Num, at.flag())
	o.used.add(at.Num)
}

// Reopen queues an open of what descriptor num refers to, as a description of
// its own. Not every object can be opened that way. The name that it goes by
// is a link: O_NOFOLLOW, which shm_open(3) sets and which has no effect later,
// gets lost.
func (o *Opener) Reopen(num int, at Slot, what string, flags int) {
	o.OpenPath(at, what, fmt.Sprintf("/proc/self/fd/%d", num), flags&^unix.O_NOFOLLOW)
}

// OpenPath queues open(2) of an existing file. It does not block, whatever
// the path leads to by now: O_NONBLOCK is set, and put right later with the
// other status flags.
func (o *Opener) OpenPath(at Slot, what, path string, flags int) {
	flags = openFlags(flags) | unix.O_NONBLOCK | unix.O_NOCTTY | at.flag()
	o.Open(at, what, unix.SYS_OPENAT, unix.AT_FDCWD, path, flags, 0)
}

// openFlags removes from the flags of a description what must not be given
// to open(2) again: O_TMPFILE stays in a description's flags, and O_ASYNC has
// no effect there (Linux fs/open.c:do_dentry_open, v6.12).
func openFlags(flags int) int {
	const tmpfile = unix.O_TMPFILE &^ unix.O_DIRECTORY
	if flags&tmpfile != 0 {
		flags &^= unix.O_TMPFILE
	}
	return flags &^ (unix.O_CREAT | unix.O_EXCL | unix.O_TRUNC | unix.O_ASYNC | unix.O_CLOEXEC)
}

// Seek queues lseek(2).
func (o *Opener) Seek(num int, pos int64) {
	if pos != 0 {
		o.Call("lseek", unix.SYS_LSEEK, num, pos, unix.SEEK_SET)
	}
}

// Then queues a step of ours for when the calls so far have succeeded.
func (o *Opener) Then(fn func() error) { o.then = append(o.then, fn) }

// Run runs what is queued.
func (o *Opener) Run() error {
	if o.batch.Len() > 0 {
		if err := o.Proc.Run(&o.batch); err != nil {
			return err
		}
	}
	steps := o.then
	o.batch, o.then = task.Batch{}, nil
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Reserve gives out a number for what is open until the tree is built, or until
// it is given back.
func (o *Opener) Reserve() int { return o.r.Reserve() }

// GiveBack frees a reserved number, at which nothing is open any more.
func (o *Opener) GiveBack(num int) {
	delete(o.r.free.reserved, num)
	o.r.free.remove(num)
	o.used.remove(num)
}

// Place is the number at which a file in flight is open in the builder, or -1.
// It holds when Last's functions are called.
func (o *Opener) Place(file int) int { return o.r.places[file] }

// Last has fn called when all shared descriptions are open, but for those that
// are opened so.
func (o *Opener) Last(fn func(o *Opener) error) { o.r.last[0] = append(o.r.last[0], fn) }

// AfterLast has fn called when these are, too.
func (o *Opener) AfterLast(fn func(o *Opener) error) { o.r.last[1] = append(o.r.last[1], fn) }

// AtRelease has fn called when the tree is complete and about to run.
func (o *Opener) AtRelease(fn func() error) { o.r.release = append(o.r.release, fn) }

// Copy gives our own descriptor of one of the process's. It is closed by the
// caller.
func (o *Opener) Copy(num int) (int, error) {
	pidfd, err := o.Proc.Pidfd()
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, num, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd %d: %w", num, err)
	}
	return fd, nil
}

// wrap gives the errors of steps queued since mark a description.
func (o *Opener) wrap(mark int, wrap func(error) error) {
	for i := mark; i < len(o.then); i++ {
		step := o.then[i]
		o.then[i] = func() error {
			if err := step(); err != nil {
				return wrap(err)
			}
			return nil
		}
	}
}

// OpenPair queues a call that stores two new descriptors where its first
// argument points to.
func (o *Opener) OpenPair(first, second Slot, what string, nr uintptr, flags int) {
	buf := make([]byte, 8)
	o.Call(what, nr, buf, flags)
	a := o.used.lowest()
	o.used.add(a)
	b := o.used.lowest()
	o.used.add(b)
	come := []int{a, b}
	o.Then(func() error {
		for i, num := range come {
			if err := o.expect(what, int64(binary.LittleEndian.Uint32(buf[4*i:])), num); err != nil {
				return err
			}
		}
		return nil
	})
	if b == first.Num { // in the way of the other
		c := o.used.lowest()
		o.move(b, Slot{Num: c, CloseOnExec: true})
		b = c
	}
	o.move(a, first)
	o.move(b, second)
}
