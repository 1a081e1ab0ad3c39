package taskstate

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// PosixTimer is a timer made by timer_create(2), with the time left.
type PosixTimer struct {
	ID     int     `cbor:"1,keyasint" json:"id"`
	Clock  int     `cbor:"2,keyasint" json:"clock"`
	Signal int     `cbor:"3,keyasint" json:"signal"`
	Value  uint64  `cbor:"4,keyasint" json:"sigev_value"`
	Notify int     `cbor:"5,keyasint" json:"notify"` // SIGEV_*
	Target task.ID `cbor:"6,keyasint,omitempty" json:"tid,omitempty"`
	Spec   []byte  `cbor:"7,keyasint" json:"itimerspec"`

	Overrun int `cbor:"8,keyasint,omitempty" json:"overrun,omitempty"` // of the last signal that was delivered
}

// sigevent(7) notification kinds (Linux include/uapi/asm-generic/siginfo.h).
const (
	sigevSignal   = 0
	sigevNone     = 1
	sigevThreadID = 4
	sigeventSize  = 64
)

// prTimerCreateRestoreIDs lets timer_create take the id from its third
// argument (since Linux 6.15).
const prTimerCreateRestoreIDs = 77

func capturePosixTimers(c *capture) error {
	timers, err := procfs.ReadTimers(int(c.held.PID))
	if err != nil {
		return err
	}
	for _, t := range timers {
		rec := PosixTimer{ID: t.ID, Clock: t.ClockID, Signal: t.Signal, Value: t.SigevValue, Spec: make([]byte, 32)}
		switch {
		case t.Notify == "none":
			rec.Notify = sigevNone
		case t.NotifyTID:
			rec.Notify, rec.Target = sigevThreadID, c.threadID(t.Target)
		}
		c.batch.Add(unix.SYS_TIMER_GETTIME, t.ID, rec.Spec)
		c.rec.Timers = append(c.rec.Timers, rec)
		c.captureOverrun(len(c.rec.Timers)-1, t.ID)
	}
	return nil
}

// threadID translates a thread id as /proc shows it to us.
func (c *capture) threadID(tid int) task.ID {
	for _, t := range c.held.Threads {
		if t.TID == task.TID(tid) {
			return t.ID
		}
	}
	return task.ID(tid)
}

func restorePosixTimers(r *restore) error {
	if len(r.rec.Timers) == 0 {
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	for _, t := range r.rec.Timers {
		if err := t.create(t.creator(r)); err != nil {
			return fmt.Errorf("timer %d: %w", t.ID, err)
		}
		spec := t.Spec
		if t.periodic() && r.rec.fired(&t) {
			spec = soon(spec)
		} else if done, err := t.setWithOverrun(r); done || err != nil {
			if err != nil {
				return fmt.Errorf("timer %d: %w", t.ID, err)
			}
			continue
		}
		if _, err := r.held.Call(unix.SYS_TIMER_SETTIME, t.ID, 0, spec, 0); err != nil {
			return fmt.Errorf("timer %d: %w", t.ID, err)
		}
	}
	return nil
}

// ownThreadClock is what the kernel makes of CLOCK_THREAD_CPUTIME_ID (Linux
// kernel/time/posix-cpu-timers.c:THREAD_CLOCK, v6.18).
const ownThreadClock = -2

// creator is the thread that makes the timer. CLOCK_THREAD_CPUTIME_ID is the
// clock of the thread that does.
func (t *PosixTimer) creator(r *restore) *task.Thread {
	for _, th := range r.held.Threads {
		if t.Clock == ownThreadClock && t.Notify == sigevThreadID && th.ID == t.Target {
			return th
		}
	}
	return r.held.Leader()
}

// TimerProblem says why a process's timers could not be made again, or
// nothing. Whose time a timer on CLOCK_THREAD_CPUTIME_ID measures is not to be
// seen; but it is always the thread that it signals, if it signals one.
func TimerProblem(held *task.Process) string {
	timers, err := procfs.ReadTimers(int(held.PID))
	if err != nil {
		return err.Error()
	}
	for _, t := range timers {
		if len(held.Threads) > 1 && t.ClockID == ownThreadClock && !t.NotifyTID {
			return fmt.Sprintf("timer %d measures the time of one of %d threads, and nothing tells which", t.ID, len(held.Threads))
		}
	}
	return ""
}

// create makes the timer with its old id. Kernels before 6.15 hand out ids in
// ascending order: timers are made and deleted until the id comes up.
func (t PosixTimer) create(held *task.Thread) error {
	id := binary.LittleEndian.AppendUint32(nil, uint32(t.ID))
	var b task.Batch
	on := b.Add(unix.SYS_PRCTL, prTimerCreateRestoreIDs, 1, 0, 0, 0).Optional()
	b.Add(unix.SYS_TIMER_CREATE, t.Clock, t.sigevent(held.Proc.Aliases), id)
	b.Add(unix.SYS_PRCTL, prTimerCreateRestoreIDs, 0, 0, 0, 0).Optional()
	if err := held.Run(&b); err != nil {
		return err
	}
	for {
		got := int(binary.LittleEndian.Uint32(id))
		if got == t.ID {
			return nil
		}
		if on.Err() == nil || got > t.ID {
			return fmt.Errorf("timer_create gave id %d", got)
		}
		var next task.Batch
		next.Add(unix.SYS_TIMER_DELETE, got)
		next.Add(unix.SYS_TIMER_CREATE, t.Clock, t.sigevent(held.Proc.Aliases), id)
		if err := held.Run(&next); err != nil {
			return err
		}
	}
}

func (t PosixTimer) sigevent(aliases *task.Aliases) []byte {
	b := make([]byte, sigeventSize)
	binary.LittleEndian.PutUint64(b[0:], t.Value)
	binary.LittleEndian.PutUint32(b[8:], uint32(t.Signal))
	binary.LittleEndian.PutUint32(b[12:], uint32(t.Notify))
	binary.LittleEndian.PutUint32(b[16:], uint32(aliases.Kernel(t.Target)))
	return b
}

// periodic tells whether it_interval, the first half, is not zero.
func (t *PosixTimer) periodic() bool {
	return bytes.IndexFunc(t.Spec[:16], func(r rune) bool { return r != 0 }) >= 0
}

// soon is spec with the next tick in a nanosecond.
func soon(spec []byte) []byte {
	s := bytes.Clone(spec)
	clear(s[16:])
	s[24] = 1
	return s
}
