package taskstate

import (
	"golang.org/x/sys/unix"
)

// captureDeathSignal asks for the signal that a thread gets when the thread
// that has made its process dies (man 2 PR_SET_PDEATHSIG).
func captureDeathSignal(c *threadCapture) error {
	sig := make([]byte, 4)
	c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, sig)
	c.later = append(c.later, func() { c.rec.DeathSignal = int(sig[0]) })
	return nil
}

func restoreDeathSignal(r *threadRestore) error {
	r.batch.Add(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, r.rec.DeathSignal)
	return nil
}
