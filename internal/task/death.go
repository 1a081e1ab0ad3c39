package task

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Exit ends a held bare process with the given exit code. Its parent finds a
// zombie.
func (p *Process) Exit(code int) error {
	var b Batch
	b.Add(unix.SYS_EXIT_GROUP, code)
	t := p.Leader()
	table := encode(b.calls, t.stopRow(), p.space.table())
	if err := Write(p.PID, p.space.table(), table); err != nil {
		return err
	}
	regs := parasiteRegs(t.Regs, p.space.code, p.space.table(), p.space.frame(), 1, true)
	if err := ptraceSetRegs(t.TID, &regs); err != nil {
		return goneErr("set registers of", t.TID, err)
	}
	return t.resumeToDeath(0)
}

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

func (t *Thread) awaitDeath() error {
	for range 100 { // a stop may have been reported before the death
		st, err := t.wait()
		if err != nil || st.kind == stopGone {
			return err
		}
	}
	return fmt.Errorf("task %d did not die", t.TID)
}
