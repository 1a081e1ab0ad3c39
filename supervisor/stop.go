package supervisor

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// mirrorStop stops this process as the program has stopped, if a shell is to
// learn of it, and comes back when this process goes on. A stop that concerns
// nobody but the one who sent it is not mirrored: who continues the program
// would not know that its supervisor needs it, too.
func (s *standIn) mirrorStop(sig syscall.Signal) error {
	if !s.stopConcerns(sig) || taskState(s.root) != 'T' {
		return nil
	}
	shared := s.sharesGroup()
	if !shared {
		giveTerminal(unix.Getpgrp())
	}
	s.toldToStop.Store(false)
	s.stopped.Store(true)
	if err := raiseDefault(sig); err != nil {
		return err
	}
	if sig != unix.SIGSTOP {
		if err := rtSigaction(sig, &relayAction, nil); err != nil {
			return err
		}
	}
	if !shared {
		s.continueGroup()
	}
	return nil
}

// continueGroup lets a tree in a process group of its own go on as a shell
// does: with the terminal, if this process has got it.
func (s *standIn) continueGroup() {
	st, err := procfs.ReadStat(s.root)
	if err != nil || st.PGRP <= 0 {
		return
	}
	if ownsTerminal() {
		giveTerminal(st.PGRP)
	}
	_ = unix.Kill(-st.PGRP, unix.SIGCONT)
}

// stopConcerns reports whether a stop by sig is one of job control: this
// process was told to stop as well, the tree has the terminal, or wanted it.
func (s *standIn) stopConcerns(sig syscall.Signal) bool {
	if sig == unix.SIGTTIN || sig == unix.SIGTTOU || ownsTerminal() {
		return true
	}
	// Our own signal may be a little later than the program's.
	for range 20 {
		if s.toldToStop.Load() {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	st, err := procfs.ReadStat(s.root)
	return err == nil && st.TPGID > 0 && st.TPGID == st.PGRP
}

// ownsTerminal reports whether the process group of this process is in the
// foreground of its terminal.
func ownsTerminal() bool {
	st, err := procfs.ReadStat(os.Getpid())
	return err == nil && st.TPGID > 0 && st.TPGID == st.PGRP
}

// giveTerminal makes pgrp the foreground group of the controlling terminal, if
// there is one. SIGTTOU, which a background process gets for it, is caught by
// then, so it is blocked for the call (man 3 tcsetpgrp).
func giveTerminal(pgrp int) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	defer tty.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old, err := setMask(1 << (unix.SIGTTOU - 1))
	if err != nil {
		return
	}
	_ = unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, pgrp)
	_, _ = setMask(old)
}

// raise sends sig to this very thread, so that it has had its effect when
// raise comes back.
func raise(sig syscall.Signal) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old, err := setMask(0)
	if err != nil {
		return err
	}
	if err := unix.Tgkill(os.Getpid(), unix.Gettid(), sig); err != nil {
		return fmt.Errorf("raise signal %d: %w", sig, err)
	}
	_, err = setMask(old)
	return err
}
