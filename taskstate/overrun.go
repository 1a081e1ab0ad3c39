package taskstate

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// captureOverrun asks how many expirations the last signal of a timer that was
// delivered stood for, which timer_getoverrun(2) goes on telling until the next. The
// count of a signal that waits to be delivered is nowhere to be had: it is made
// at the delivery (Linux kernel/time/posix-timers.c:__posixtimer_deliver_signal, v6.18).
func (c *capture) captureOverrun(i, id int) {
	overrun := c.batch.Add(unix.SYS_TIMER_GETOVERRUN, id)
	c.later = append(c.later, func() { c.rec.Timers[i].Overrun = int(overrun.Ret) })
}

// setWithOverrun arms the timer so long ago that it has overrun as often as it
// had, and takes the signal that this gives: delivery counts. It tells whether
// that came out right, and otherwise has changed nothing that arming it once
// more would not undo.
//
// That works on clocks that nobody sets, and as far back as the host's begin.
func (t *PosixTimer) setWithOverrun(r *restore) (bool, error) {
	const tries = 3 // its next expiry may come in between
	if t.Overrun == 0 || !t.periodic() || t.Clock != unix.CLOCK_MONOTONIC && t.Clock != unix.CLOCK_BOOTTIME || !r.rec.ownSignal(t) {
		return false, nil
	}
	for range tries {
		right, err := t.expireLongAgo(t.receiver(r))
		if right || err != nil {
			return right, err
		}
	}
	return false, nil
}

func (t *PosixTimer) expireLongAgo(th *task.Thread) (bool, error) {
	now := make([]byte, 16)
	if _, err := th.Call(unix.SYS_CLOCK_GETTIME, t.Clock, now); err != nil {
		return false, err
	}
	interval := nanoseconds(t.Spec)
	first := nanoseconds(now) + nanoseconds(t.Spec[16:]) - int64(t.Overrun+1)*interval
	if first <= 0 || first > nanoseconds(now) {
		return false, nil
	}
	spec := append(t.Spec[:16:16], timespec(first)...)
	signal := binary.LittleEndian.AppendUint64(nil, 1<<(t.Signal-1))
	var b task.Batch
	b.Add(unix.SYS_TIMER_SETTIME, t.ID, unix.TIMER_ABSTIME, spec, 0)
	taken := b.Add(unix.SYS_RT_SIGTIMEDWAIT, signal, 0, timespec(1e8), 8).Optional()
	overrun := b.Add(unix.SYS_TIMER_GETOVERRUN, t.ID)
	if err := th.Run(&b); err != nil {
		return false, err
	}
	if err := taken.Err(); err != nil && !errors.Is(err, unix.EAGAIN) {
		return false, err
	}
	return taken.Err() == nil && overrun.Ret == int64(t.Overrun), nil
}

// receiver is the thread that gets the timer's signal, or may take it.
func (t *PosixTimer) receiver(r *restore) *task.Thread {
	for _, th := range r.held.Threads {
		if t.Notify == sigevThreadID && th.ID == t.Target {
			return th
		}
	}
	return r.held.Leader()
}

// ownSignal tells whether no other timer sends the same signal.
func (rec *Process) ownSignal(t *PosixTimer) bool {
	for i := range rec.Timers {
		if o := &rec.Timers[i]; o.ID != t.ID && o.Signal == t.Signal && o.Notify != sigevNone {
			return false
		}
	}
	return t.Notify != sigevNone
}

// timerSignals is the set of the signals of timers.
func (rec *Process) timerSignals() uint64 {
	var set uint64
	for i := range rec.Timers {
		if sig := rec.Timers[i].Signal; sig > 0 {
			set |= 1 << (sig - 1)
		}
	}
	return set
}

func nanoseconds(timespec []byte) int64 {
	return int64(binary.LittleEndian.Uint64(timespec))*1e9 + int64(binary.LittleEndian.Uint64(timespec[8:]))
}

func timespec(ns int64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(ns/1e9))
	return binary.LittleEndian.AppendUint64(b, uint64(ns%1e9))
}
