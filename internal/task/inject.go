package task

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Run runs the calls of b inside the thread, in order, and gives the thread
// back as it was. It returns the first failed call that is not optional as a
// *CallError, after all have run.
//
// Preconditions:
//   - t is held, and its process is infected.
//   - The caller is on the tracer's OS thread.
//   - No call of a live program waits, and none uses the thread's restart
//     block (nanosleep, poll, futex with a timeout): the program's own
//     interrupted sleep would then end with EINTR.
func (t *Thread) Run(b *Batch) error {
	for calls := b.calls; len(calls) > 0; {
		var now []*Call
		now, calls = take(calls, tableRoom)
		if err := t.runTable(now); err != nil {
			return err
		}
	}
	for _, c := range b.calls {
		if err := c.Err(); err != nil && !c.optional {
			return &CallError{Name: callName(c.Nr), TID: t.TID, Errno: err.(syscall.Errno)}
		}
	}
	for _, fn := range b.then {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

// Call runs a single system call inside the thread.
func (t *Thread) Call(nr uintptr, args ...any) (int64, error) {
	var b Batch
	c := b.Add(nr, args...)
	if err := t.Run(&b); err != nil {
		return 0, err
	}
	return c.Ret, nil
}

// runTable runs calls that fit into one table.
func (t *Thread) runTable(calls []*Call) error {
	s := t.Proc.space
	table := encode(calls, t.stopRow(), s.table(), t.Proc.Aliases)
	if len(table) > tableRoom {
		return fmt.Errorf("%s in task %d: %d bytes of arguments do not fit", callName(calls[0].Nr), t.TID, len(table))
	}
	if err := t.checkFilters(s.code, table[:(len(calls)+1)*rowSize], s.frame()); err != nil {
		return err
	}
	frame := appendFrame(nil, t.Regs, t.Mask)
	if err := Write(t.Proc.PID, s.frame(), append(frame, make([]byte, frameRoom-len(frame))...)); err != nil {
		return err
	}
	if err := Write(t.Proc.PID, s.table(), table); err != nil {
		return err
	}
	injectErr := t.inject(s.code, s.table(), s.frame(), stretches(calls), true)
	var paused pauseError
	if injectErr != nil && !errors.As(injectErr, &paused) {
		return injectErr
	}
	if err := Read(t.Proc.PID, table, s.table()); err != nil {
		return err
	}
	decode(calls, table)
	return injectErr
}

// stretch is a number of rows that run without us, and what we do then.
type stretch struct {
	rows int
	then func() error // may be nil
}

// stretches cuts a table at its pauses. The last stretch ends with the stop.
func stretches(calls []*Call) []stretch {
	var list []stretch
	rows := 1
	for _, c := range calls {
		if c.pause != nil {
			list = append(list, stretch{rows, c.pause})
			rows = 0
		}
		rows++
	}
	return append(list, stretch{rows: rows})
}

// pauseError is an error of what was done in a pause.
type pauseError struct{ error }

func (e pauseError) Unwrap() error { return e.error }

// stopRow is the last row of every table: what stops the parasite when a
// tracer is there, and does nothing when there is none.
func (t *Thread) stopRow() Call {
	sig := t.Proc.stopSignal
	if sig == 0 {
		return Call{Nr: unix.SYS_GETPID, args: [6]uint64{5: Mark}} // single-stepped by system call instead
	}
	return Call{Nr: unix.SYS_TGKILL, args: [6]uint64{uint64(t.Proc.Aliases.Kernel(t.Proc.ID)), uint64(t.Proc.Aliases.Kernel(t.ID)), uint64(sig), 5: Mark}}
}

// inject follows steps 2 to 6 of the package comment: frame and table are
// written.
func (t *Thread) inject(code, row, frame Addr, list []stretch, store bool) error {
	rows := 0
	for _, s := range list {
		rows += s.rows
	}
	sig := t.Proc.stopSignal
	regs := parasiteRegs(t.Regs, code, row, frame, rows, store)
	if err := ptraceSetRegs(t.TID, &regs); err != nil {
		return goneErr("set registers of", t.TID, err)
	}
	blocked := allSignals
	if sig != 0 {
		blocked &^= bit(sig)
	}
	if err := ptraceSetSigmask(t.TID, blocked); err != nil {
		return goneErr("set signal mask of", t.TID, err)
	}
	return errors.Join(t.runStretches(sig, list), t.giveBack())
}

// runStretches runs the parasite from stop to stop. What it changed before a
// pause it takes back after it, so that it goes on whatever the pause said.
func (t *Thread) runStretches(sig syscall.Signal, list []stretch) error {
	var paused error
	for _, s := range list {
		if err := t.runUntilStop(sig, s.rows); err != nil {
			return errors.Join(paused, err)
		}
		if s.then == nil {
			continue
		}
		if err := s.then(); err != nil {
			paused = errors.Join(paused, pauseError{err})
		}
	}
	return paused
}

// giveBack puts the program's mask and registers back, in this order.
func (t *Thread) giveBack() error {
	if err := ptraceSetSigmask(t.TID, t.Mask); err != nil {
		return goneErr("set signal mask of", t.TID, err)
	}
	if err := ptraceSetRegs(t.TID, &t.Regs); err != nil {
		return goneErr("set registers of", t.TID, err)
	}
	return nil
}

// runUntilStop lets the parasite run to the next row that stops it. With sig 0 it counts
// system call stops, two for each row.
func (t *Thread) runUntilStop(sig syscall.Signal, rows int) error {
	left := 2 * rows
	for {
		if err := t.resume(sig == 0); err != nil {
			return goneErr("resume", t.TID, err)
		}
		st, err := t.wait()
		if err != nil {
			return err
		}
		switch st.kind {
		case stopGone:
			return fmt.Errorf("run calls in task %d: %w", t.TID, ErrGone)
		case stopSyscall:
			if left--; left == 0 {
				return nil
			}
		case stopNewTask:
			if err := t.noteNewTask(); err != nil {
				return err
			}
		case stopSignal:
			if done, err := t.signalWhileRunning(st.signal, sig); done || err != nil {
				return err
			}
		}
	}
}

func (t *Thread) resume(bySyscall bool) error {
	if bySyscall {
		return ptraceSyscall(t.TID)
	}
	return ptraceCont(t.TID, 0)
}

// noteNewTask records the child that the thread has just made.
func (t *Thread) noteNewTask() error {
	child, err := ptraceEventMsg(t.TID)
	if err != nil {
		return goneErr("get new child of", t.TID, err)
	}
	t.newTasks = append(t.newTasks, TID(child))
	return nil
}

// signalWhileRunning sorts a signal that reached the parasite: the stop row's
// own, a foreign one to be sent again later, or a fault.
func (t *Thread) signalWhileRunning(got, want syscall.Signal) (done bool, err error) {
	info, err := ptraceGetSiginfo(t.TID)
	if err != nil {
		return false, goneErr("get signal of", t.TID, err)
	}
	if got == want && info.Code() == siTkill {
		return true, nil
	}
	if got == want && info.lost() {
		if last, err := t.atLastRow(); last || err != nil {
			return last, err
		}
	}
	switch got {
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGFPE, syscall.SIGSYS:
		if info.Code() > 0 {
			return false, fmt.Errorf("task %d: %v while running injected calls", t.TID, got)
		}
	}
	t.missed = append(t.missed, got)
	return false, nil
}

// atLastRow tells whether the parasite is making its last call.
func (t *Thread) atLastRow() (bool, error) {
	var regs Regs
	if err := ptraceGetRegs(t.TID, &regs); err != nil {
		return false, goneErr("get registers of", t.TID, err)
	}
	return regs.R12 == 1 && regs.Orig_rax == unix.SYS_TGKILL, nil
}
