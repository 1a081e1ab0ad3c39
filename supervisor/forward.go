package supervisor

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// standIn makes this process stand for the root of a tree.
type standIn struct {
	root   int // pid
	pidfd  int // of root, so that no signal goes to a later process of its pid
	relay  *relay
	leader bool // this process leads its session

	toldToStop atomic.Bool // a job-control signal came to this process, too
	stopped    atomic.Bool // this process has stopped itself after the program
}

// newStandIn begins to relay the signals of this process to root: those of a
// relay that has begun before, or of a new one.
func newStandIn(root int, relay *relay) (*standIn, error) {
	pidfd, err := unix.PidfdOpen(root, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open of pid %d: %w", root, err)
	}
	sid, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("getsid: %w", err)
	}
	if relay == nil {
		if relay, err = startRelay(); err != nil {
			return nil, errors.Join(err, unix.Close(pidfd))
		}
	}
	s := &standIn{root: root, pidfd: pidfd, relay: relay, leader: sid == os.Getpid()}
	go s.forwardAll()
	return s, nil
}

// forwardAll passes signals on for as long as this process lives.
func (s *standIn) forwardAll() {
	for {
		info, err := s.relay.next()
		if err != nil {
			return
		}
		switch info.signal() {
		case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
			s.toldToStop.Store(true)
		case unix.SIGCONT:
			s.toldToStop.Store(false)
		}
		if s.lacks(info) {
			s.send(info)
		}
	}
}

// lacks reports whether the program should have this signal and has it not.
// What a process group gets, from the keyboard above all, both have got. What
// the tree itself sends is never meant for itself: kill(0) has reached it
// already, and what is sent to its parent is for the parent.
func (s *standIn) lacks(info *siginfo) bool {
	switch {
	case info.signal() == unix.SIGCONT && s.stopped.Swap(false):
		// A shell continues the whole group, others only the process they know.
		return taskState(s.root) == 'T'
	case info.code() == siKernel:
		return s.leaderOnly(info.signal()) || !s.sharesGroup()
	case info.code() > 0:
		return false
	}
	return !descends(info.pid(), os.Getpid())
}

// leaderOnly reports whether the kernel has told only the leader of a session:
// that its terminal is gone (Linux
// drivers/tty/tty_jobctrl.c:tty_signal_session_leader, v6.12).
func (s *standIn) leaderOnly(sig syscall.Signal) bool {
	return s.leader && (sig == unix.SIGHUP || sig == unix.SIGCONT)
}

// sharesGroup reports whether root is in the process group of this process.
func (s *standIn) sharesGroup() bool {
	st, err := procfs.ReadStat(s.root)
	return err == nil && st.PGRP == unix.Getpgrp()
}

// send passes one signal on, with the data that came with it. It is not an
// error that the program has ended; its status tells.
func (s *standIn) send(info *siginfo) {
	if !info.queued() || sendInfo(s.pidfd, info.signal(), info) != nil {
		_ = unix.PidfdSendSignal(s.pidfd, info.signal(), nil, 0)
	}
}

// descends reports whether pid is a descendant of ancestor. One that has
// exited is none.
func descends(pid, ancestor int) bool {
	for pid > 1 {
		st, err := procfs.ReadStat(pid)
		if err != nil {
			return false
		}
		if st.PPID == ancestor {
			return true
		}
		pid = st.PPID
	}
	return false
}

// taskState is the state of a process as /proc/PID/stat has it, or X.
func taskState(pid int) byte {
	st, err := procfs.ReadStat(pid)
	if err != nil {
		return 'X'
	}
	if st.State == 'Z' && !st.Dead() {
		return 'S' // its first thread has exited, others run
	}
	return st.State
}
