package taskstate

import (
	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// ioFlusher are the flags that PR_SET_IO_FLUSHER sets, PF_MEMALLOC_NOIO and
// PF_LOCAL_THROTTLE (Linux include/linux/sched.h, v6.18). Asking by prctl(2)
// needs CAP_SYS_RESOURCE.
const ioFlusher = 0x0008_0000 | 0x0010_0000

func captureIOFlusher(c *threadCapture) error {
	st, err := procfs.ReadTaskStat(int(c.held.Proc.PID), int(c.held.TID))
	c.rec.IOFlusher = err == nil && st.Flags&ioFlusher == ioFlusher
	return err
}

// restoreIOFlusher: without CAP_SYS_RESOURCE the thread does without.
func restoreIOFlusher(r *threadRestore) error {
	if r.rec.IOFlusher {
		r.batch.Add(unix.SYS_PRCTL, unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0).Optional()
	}
	return nil
}
