package task

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// stopKind says why a tracee reported.
type stopKind int

const (
	stopNone       stopKind = iota // has not reported yet
	stopGone                       // exited or was killed
	stopSignal                     // about to take a signal
	stopTrap                       // answer to PTRACE_INTERRUPT, or a new child's first stop
	stopGroup                      // stopped by job control
	stopNewTask                    // forked or cloned; the child is traced too
	stopSyscall                    // entry or exit of a system call
	stopOtherEvent                 // exec and the rest
)

// stop is one decoded report of a tracee (man 2 ptrace, "Stopped states").
type stop struct {
	kind   stopKind
	signal syscall.Signal // of stopSignal and stopGroup
	status syscall.WaitStatus
}

// ptraceEventStop is PTRACE_EVENT_STOP, which only seized tracees report.
const ptraceEventStop = 128

// decodeStop sorts a wait status into its kind, in the one place that looks
// at its bits. PTRACE_O_TRACESYSGOOD marks system call stops by 0x80.
func decodeStop(ws syscall.WaitStatus) stop {
	s := stop{status: ws}
	if !ws.Stopped() {
		s.kind = stopGone
		return s
	}
	sig := ws.StopSignal()
	switch event := int(ws>>16) & 0xff; event {
	case 0:
		s.kind, s.signal = stopSignal, sig
		if sig == syscall.SIGTRAP|0x80 {
			s.kind = stopSyscall
		}
	case ptraceEventStop:
		s.kind, s.signal = stopGroup, sig
		if sig == syscall.SIGTRAP {
			s.kind = stopTrap
		}
	case unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK, unix.PTRACE_EVENT_CLONE:
		s.kind = stopNewTask
	default:
		s.kind = stopOtherEvent
	}
	return s
}

// waitStop waits for the next report of one tracee. With nohang it returns
// stopNone when there is none yet. A task that cannot be waited for any more
// is gone.
func waitStop(tid TID, nohang bool) (stop, error) {
	options := unix.WALL
	if nohang {
		options |= unix.WNOHANG
	}
	return wait4(tid, options)
}

// wait waits for the thread's next report.
//
// Waiting for a leader that has other threads could last for ever: when the
// process is killed, the leader's death is reported only after the others
// have been reaped, and they are tracees of ours too (man 2 ptrace, "Death
// under ptrace"). So whichever dies meanwhile is reaped.
func (t *Thread) wait() (stop, error) {
	if mates := len(t.Proc.Threads) > 1 || len(t.newTasks) > 0 && !t.forks; t != t.Proc.Leader() || !mates {
		return waitStop(t.TID, false)
	}
	for {
		st, err := waitStop(t.TID, true)
		if err != nil || st.kind != stopNone {
			return st, err
		}
		if err := t.awaitAny(); err != nil {
			return stop{}, err
		}
	}
}

func wait4(tid TID, options int) (stop, error) {
	var ws syscall.WaitStatus
	for {
		got, err := syscall.Wait4(int(tid), &ws, options, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD):
			return stop{kind: stopGone}, nil
		case err != nil:
			return stop{}, fmt.Errorf("wait4 task %d: %w", tid, err)
		case got == 0:
			return stop{kind: stopNone}, nil
		}
		return decodeStop(ws), nil
	}
}

// awaitAny sleeps until some tracee of this OS thread has something to report,
// and reaps the dead threads of t's process. Others are left to those who wait
// for them.
func (t *Thread) awaitAny() error {
	other, err := peekWait()
	if errors.Is(err, syscall.EINTR) || err == nil && other == t.TID {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for task %d: %w", t.TID, err)
	}
	if reaped, err := t.reapMates(); reaped || err != nil {
		return err
	}
	Nap(20 * time.Microsecond) // peekWait would not sleep
	return nil
}

// reapMates reaps the other threads of the process that have died, also those
// that it has just cloned and nobody has adopted.
func (t *Thread) reapMates() (reaped bool, err error) {
	pid := int(t.Proc.TGID)
	tids, err := procfs.Tasks(pid)
	if err != nil {
		return false, nil // it is gone altogether, which the next wait tells
	}
	for _, tid := range tids {
		if st, err := procfs.ReadTaskStat(pid, tid); TID(tid) == t.TID || err != nil || st.State != 'Z' && st.State != 'X' {
			continue
		}
		st, err := waitStop(TID(tid), true)
		if err != nil {
			return reaped, err
		}
		reaped = reaped || st.kind == stopGone
	}
	return reaped, nil
}
