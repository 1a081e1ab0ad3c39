package restorer

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// terminal is the terminal that the restart runs on, lent to the tree.
type terminal struct {
	tty   *os.File
	group int // our own, which gets the terminal back
}

// ptsIndex is N of /dev/pts/N for a device number as /proc/PID/stat has it
// (Linux include/linux/kdev_t.h:new_encode_dev).
func ptsIndex(dev int) int {
	return dev&0xff | dev>>12&0xfff00
}

// foreignTerminal tells whether n's controlling terminal lies outside the tree.
func (r *restart) foreignTerminal(n *node) bool {
	return n.tty != 0 && !r.ptys[n.tty]
}

// findTerminals sorts the tree's terminals into those that it has made itself
// and the one outside.
func (r *restart) findTerminals(kinds []fdstate.Kind) error {
	records, err := r.tree.Files.Records(kinds)
	if err != nil {
		return err
	}
	r.ptys = map[int]bool{}
	for _, rec := range records {
		switch rec := rec.(type) {
		case *fdstate.Pty:
			if rec.Master != nil {
				r.ptys[rec.Master.Terminal.TTYNr()] = true
			}
		case *fdstate.Outside:
			if rec.Terminal != nil && rec.Terminal.Termios != nil {
				r.outside = rec.Terminal
			}
		}
	}
	return nil
}

// takeTerminal gives the tree the terminal that we run on in place of the one
// it had: modes as they were, the window as it is here, and the foreground
// group that was. Programs are told to look at the window's size.
func (r *restart) takeTerminal() error {
	if r.outside == nil || r.opts.Detach {
		return nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil // no terminal here: programs find out as they would anywhere
	}
	r.term = &terminal{tty: tty, group: unix.Getpgrp()}
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS2, (*unix.Termios)(r.outside.Termios)); err != nil {
		return fmt.Errorf("set terminal modes: %w", err)
	}
	if err := setWindow(int(tty.Fd()), (*unix.Winsize)(&r.outside.Winsize)); err != nil {
		return fmt.Errorf("set window size: %w", err)
	}
	return r.foreground(tty)
}

// setWindow gives the terminal the old size only when it has none: a real
// window has the size it has.
func setWindow(fd int, old *unix.Winsize) error {
	now, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil || now.Row != 0 || now.Col != 0 {
		return err
	}
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, old)
}

// foreground puts the tree's foreground group into the foreground, if it was
// a group of the tree, and sends SIGWINCH to all in it.
func (r *restart) foreground(tty *os.File) error {
	set := false
	for i := range r.tree.Processes {
		rec := &r.tree.Processes[i]
		if rec.TTY == 0 || r.ptys[rec.TTY] {
			continue
		}
		if rec.TPGID != 0 && rec.TPGID != rec.Group {
			continue
		}
		pid := int(r.procs[i].PID)
		if rec.TPGID != 0 && !set {
			set = true
			group, err := unix.Getpgid(pid)
			if err != nil {
				return fmt.Errorf("group of pid %d: %w", pid, err)
			}
			if err := setForeground(tty, group); err != nil {
				return err
			}
		}
		if rec.Stopped != 0 {
			continue
		}
		// As after fg in a shell: the window may be another one, and what is
		// on it has to be drawn again.
		for _, sig := range []unix.Signal{unix.SIGWINCH, unix.SIGCONT} {
			if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("send %v to %d: %w", sig, pid, err)
			}
		}
	}
	return nil
}

// setForeground is tcsetpgrp(3). We may be in the background ourselves, when
// the kernel would send SIGTTOU instead of obeying; it obeys a thread that
// blocks the signal (Linux drivers/tty/tty_jobctrl.c:__tty_check_change, v6.18).
func setForeground(tty *os.File, group int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, old unix.Sigset_t
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old); err != nil {
		return fmt.Errorf("block SIGTTOU: %w", err)
	}
	err := unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, group)
	if err != nil {
		err = fmt.Errorf("give the terminal to process group %d: %w", group, err)
	}
	return errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil))
}

// restore takes the terminal back.
func (t *terminal) restore() {
	if t == nil || t.tty == nil {
		return
	}
	_ = setForeground(t.tty, t.group) // the terminal may be gone
	t.tty.Close()
	t.tty = nil
}
