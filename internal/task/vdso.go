package task

import (
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// vdsoTime is how long a thread in the vDSO runs on before it is stopped
// again. A call of the vDSO takes well under a microsecond; the rest is for the
// thread to get a CPU.
const vdsoTime = 20 * time.Microsecond

// insideVDSO tells whether a thread stopped in the vDSO. Code there reads a
// clock of this host and then adds the offset of the time namespace to it: cut
// between the two and taken up again elsewhere, it would give a time of neither
// (Linux lib/vdso/gettimeofday.c:do_hres_timens, v6.18).
//
// The calls that the vDSO falls back on never wait, so a thread in an
// interrupted call is elsewhere, and its process's mappings need no look.
func (t *Thread) insideVDSO(regs *Regs) (bool, error) {
	if regs.interrupted() != 0 || regs.spuriousEINTR() {
		return false, nil
	}
	p := t.Proc
	if p.vdso == nil {
		vmas, err := procfs.ReadMaps(int(t.TID)) // the leader may have exited
		if err != nil {
			return false, goneErr("read mappings of", t.TID, err)
		}
		p.vdso = &place{}
		for i := range vmas {
			if vmas[i].Path == "[vdso]" {
				p.vdso = &place{Addr(vmas[i].Start), Addr(vmas[i].End)}
			}
		}
	}
	return p.vdso.has(regs.PC()), nil
}

// leaveVDSO lets the thread run on for a moment and asks it to stop again. No
// single steps: a tracer that dies between two leaves the trap flag behind.
func (t *Thread) leaveVDSO() error {
	nap := unix.NsecToTimespec(int64(vdsoTime))
	err := ptraceCont(t.TID, 0)
	_ = unix.Nanosleep(&nap, nil) // cut short, it is tried once more
	if err == nil {
		err = ptraceInterrupt(t.TID)
	}
	if err != nil {
		return ignoreGone(goneErr("let run on", t.TID, err))
	}
	return nil
}
