package virtual

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// A signal that a program sends to itself tells who has sent it, and libraries look
// at that: glibc obeys pthread_cancel(3), and gives all threads the ids of
// setuid(2), only if the signal's si_pid is what getpid(2) says. A thread may send
// any siginfo_t to itself alone (Linux kernel/signal.c:do_rt_tgsigqueueinfo, v6.18),
// so such a signal is sent by the thread that is to get it.

// siTkill is si_code of tgkill(2).
const siTkill = -6

// selfSignal is a signal that a thread of a process sends to another, or itself.
type selfSignal struct {
	thread, sig int // the kernel's id
	info        []byte
}

// toSelf finds out whether a call sends one; nil if not.
func (tr *translator) toSelf(t *caller) *selfSignal {
	own, sig := task.ID(int32(t.args[0])), int(int32(t.args[1]))
	switch t.nr {
	case unix.SYS_TGKILL:
		own, sig = task.ID(int32(t.args[1])), int(int32(t.args[2]))
	case unix.SYS_TKILL:
	default:
		return nil
	}
	st, err := t.status()
	thread := int(tr.aliases.Kernel(own))
	target, targetErr := procfs.ReadStatus(thread)
	named := int(tr.aliases.Kernel(task.ID(int32(t.args[0]))))
	if err != nil || targetErr != nil || sig <= 0 || sig > 64 || target.TGID != st.TGID || t.nr == unix.SYS_TGKILL && named != st.TGID {
		return nil
	}
	code := siTkill
	info := make([]byte, 128) // siginfo_t: si_signo, si_errno, si_code, padding, si_pid, si_uid
	binary.NativeEndian.PutUint32(info, uint32(sig))
	binary.NativeEndian.PutUint32(info[8:], uint32(int32(code)))
	binary.NativeEndian.PutUint32(info[pidInInfo:], uint32(tr.aliases.Own(task.ID(st.TGID))))
	binary.NativeEndian.PutUint32(info[pidInInfo+4:], uint32(st.UIDs[0]))
	return &selfSignal{thread, sig, info}
}

// signalSelf sends it while the thread that wants it sent is held.
func (tr *translator) signalSelf(t *caller, s *selfSignal) answer {
	return tr.holdFor(t, func(p *task.Process) error {
		to := p
		if s.thread != int(t.tid) {
			var err error
			to, err = task.Hold(p.TGID, task.TID(s.thread), patience)
			if errors.Is(err, task.ErrGone) {
				p.Leader().Return(-int64(unix.ESRCH))
				return nil
			}
			if err != nil {
				return err
			}
		}
		var b task.Batch
		call := b.Add(unix.SYS_RT_TGSIGQUEUEINFO, int(p.TGID), s.thread, s.sig, s.info).Optional()
		err := to.RunHeld(&b)
		if err == nil {
			p.Leader().Return(call.Ret)
		}
		if to != p {
			err = errors.Join(err, to.Release())
		}
		return err
	})
}
