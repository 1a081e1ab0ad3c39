package task

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// Exit ends a held bare process with the given exit code. Its parent finds a
// zombie.
func (p *Process) Exit(code int) error {
	var b Batch
	b.Add(unix.SYS_EXIT_GROUP, code)
	t := p.Leader()
	table := encode(b.calls, t.stopRow(), p.space.table(), p.Aliases)
	if err := Write(p.PID, p.space.table(), table); err != nil {
		return err
	}
	regs := parasiteRegs(t.Regs, p.space.code, p.space.table(), p.space.frame(), 1, true)
	if err := errors.Join(ptraceSetRegs(t.TID, &regs), ptraceSetSigmask(t.TID, allSignals)); err != nil {
		return goneErr("set registers of", t.TID, err)
	}
	return t.resumeToDeath(0)
}

// EndLeader ends the first thread of a held bare process with the given exit
// code, while others stay. Its death is not reported to anybody, since the
// process lives (man 2 ptrace), so that it is let go before and looked after.
func (p *Process) EndLeader(code int) error {
	t := p.Leader()
	var b Batch
	b.Add(unix.SYS_EXIT, code)
	if err := Write(p.PID, p.space.table(), encode(b.calls, t.stopRow(), p.space.table(), p.Aliases)); err != nil {
		return err
	}
	regs := parasiteRegs(t.Regs, p.space.code, p.space.table(), p.space.frame(), 1, true)
	err := errors.Join(ptraceSetRegs(t.TID, &regs), ptraceSetSigmask(t.TID, allSignals), ptraceDetach(t.TID, 0))
	if err != nil {
		return goneErr("end", t.TID, err)
	}
	p.Threads = p.Threads[1:]
	p.PID = PID(p.Leader().TID)
	for end := time.Now().Add(leaderTime); time.Now().Before(end); Nap(50 * time.Microsecond) {
		st, err := procfs.ReadTaskStat(int(p.PID), int(t.TID))
		if err != nil {
			return goneErr("look at", t.TID, err)
		}
		if st.State == 'Z' {
			return nil
		}
	}
	return fmt.Errorf("task %d did not end", t.TID)
}

// leaderTime is how long a thread may take to exit.
const leaderTime = 10 * time.Second

// Die ends a held bare process by a signal, without a core dump.
func (p *Process) Die(sig unix.Signal) error {
	t := p.Leader()
	if err := unix.Prlimit(int(p.PID), unix.RLIMIT_CORE, &unix.Rlimit{}, nil); err != nil {
		return goneErr("limit core of", t.TID, err)
	}
	if err := ptraceSetSigmask(t.TID, 0); err != nil {
		return goneErr("set signal mask of", t.TID, err)
	}
	if sig == unix.SIGKILL {
		if err := p.Kill(); err != nil {
			return err
		}
		return t.awaitDeath()
	}
	return t.resumeToDeath(sig)
}

func (t *Thread) resumeToDeath(sig unix.Signal) error {
	if err := ptraceCont(t.TID, sig); err != nil {
		return goneErr("end", t.TID, err)
	}
	return t.awaitDeath()
}

// awaitDeath waits for the end of a task that is about to die. On the way it may
// stop once more, such as for SIGSTOP, which cannot be blocked.
func (t *Thread) awaitDeath() error {
	for range 100 {
		st, err := t.wait()
		if err != nil || st.kind == stopGone {
			return err
		}
		if err := ptraceCont(t.TID, 0); err != nil && !errors.Is(err, unix.ESRCH) { // it may be dying
			return goneErr("end", t.TID, err)
		}
	}
	return fmt.Errorf("task %d did not die", t.TID)
}
