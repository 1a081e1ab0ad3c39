package taskstate

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Siginfo is a queued signal, as siginfo_t.
type Siginfo []byte

// MarshalJSON writes hexadecimal, for inspect.
func (s Siginfo) MarshalJSON() ([]byte, error) {
	return json.Marshal(hex.EncodeToString(s))
}

func (s Siginfo) signal() int { return int(s[0]) }

// timer is the id of the POSIX timer that sent the signal, or -1 (man 2
// sigaction, SI_TIMER).
func (s Siginfo) timer() int {
	const siTimer = -2
	if len(s) < 20 || int32(binary.LittleEndian.Uint32(s[8:])) != siTimer {
		return -1
	}
	return int(binary.LittleEndian.Uint32(s[16:]))
}

// again tells whether a pending signal comes from a timer that ticks on: the
// timer will send it again at once, and count what is missed from there.
func (rec *Process) again(s Siginfo) bool {
	id := s.timer()
	for i := range rec.Timers {
		if rec.Timers[i].ID == id && rec.Timers[i].periodic() {
			return true
		}
	}
	return false
}

// fired tells whether a signal of the timer is pending.
func (rec *Process) fired(t *PosixTimer) bool {
	for i := range rec.Threads {
		for _, s := range rec.Threads[i].Pending {
			if s.timer() == t.ID {
				return true
			}
		}
	}
	for _, s := range rec.Pending {
		if s.timer() == t.ID {
			return true
		}
	}
	return false
}

func records(queue []task.Siginfo) []Siginfo {
	var recs []Siginfo
	for i := range queue {
		recs = append(recs, Siginfo(queue[i][:]))
	}
	return recs
}

func capturePending(c *capture) error {
	c.rec.Pending = records(c.held.Shared)
	return nil
}

func captureThreadPending(c *threadCapture) error {
	c.rec.Pending = records(c.held.Pending)
	return nil
}

// pendingSet is the set of all signals that wait in the process.
func (rec *Process) pendingSet() uint64 {
	var set uint64
	add := func(queue []Siginfo) {
		for _, s := range queue {
			set |= 1 << (s.signal() - 1)
		}
	}
	add(rec.Pending)
	for i := range rec.Threads {
		add(rec.Threads[i].Pending)
	}
	return set
}

// restorePending queues the signals again, oldest first. A process may send
// itself any siginfo (Linux kernel/signal.c:do_rt_sigqueueinfo, v6.18). All
// signals are blocked while it does.
func restorePending(r *restore) error {
	for _, s := range r.rec.Pending {
		if r.rec.again(s) {
			continue
		}
		r.batch.Add(unix.SYS_RT_SIGQUEUEINFO, r.rec.ID, s.signal(), []byte(s))
	}
	return nil
}

func restoreThreadPending(r *threadRestore) error {
	for _, s := range r.rec.Pending {
		if r.proc.again(s) {
			continue
		}
		r.batch.Add(unix.SYS_RT_TGSIGQUEUEINFO, r.proc.ID, r.rec.ID, s.signal(), []byte(s))
	}
	return nil
}

// DropSignal takes a pending signal off the queue of a bare process, if it is
// there.
func DropSignal(held *task.Process, sig unix.Signal) error {
	set := binary.LittleEndian.AppendUint64(nil, 1<<(sig-1))
	var b task.Batch
	b.Add(unix.SYS_RT_SIGTIMEDWAIT, set, 0, make([]byte, 16), 8).Optional()
	return held.Run(&b)
}
