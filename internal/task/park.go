package task

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Parked threads are out of the way of what one of them does to the memory that
// they share, even if we die meanwhile: then the kernel lets all go on at once,
// and each waits at a gate before it goes home. While the gate is open, or we
// are there, nothing of this happens.
//
// A place to park has, from its start, room for a signal handler, as the
// parasite's own frame has below it, the frame, and the one row of a wait.
const (
	parkSize  = signalRoom + PageSize
	parkFrame = signalRoom
	parkRow   = signalRoom + frameRoom
)

// park prepares t to wait at the gate, a word that is 0 while it is closed,
// if we die. The place for it is at an address of its own. Take it back by
// giveBack.
func (t *Thread) park(code, at, gate Addr) error {
	frame := appendFrame(nil, t.Regs, t.Mask)
	frame = append(frame, make([]byte, frameRoom-len(frame))...)
	row := appendRow(nil, unix.SYS_FUTEX, [6]uint64{uint64(gate), futexWait0, 0, 0, 0, Mark})
	if err := t.checkFilters(code, row, at+parkFrame); err != nil {
		return err
	}
	if err := Write(t.Proc.PID, at+parkFrame, append(frame, row...)); err != nil {
		return err
	}
	regs := parasiteRegs(t.Regs, code, at+parkRow, at+parkFrame, 1, false)
	if err := ptraceSetRegs(t.TID, &regs); err != nil {
		return goneErr("set registers of", t.TID, err)
	}
	if err := ptraceSetSigmask(t.TID, allSignals); err != nil {
		return goneErr("set signal mask of", t.TID, err)
	}
	return nil
}

// futexWait0 is FUTEX_WAIT.
const futexWait0 = 0

// parked calls fn while threads are parked, in places that lie one behind the
// other from at on.
func parked(threads []*Thread, code, at, gate Addr, fn func() error) (err error) {
	for i, t := range threads {
		if err = t.park(code, at+Addr(i*parkSize), gate); err != nil {
			threads = threads[:i+1]
			break
		}
	}
	if err == nil {
		err = fn()
	}
	for _, t := range threads {
		err = errors.Join(err, t.giveBack())
	}
	return err
}
