package taskstate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// captureAttributes reads the small things that a single call sets again.
func captureAttributes(c *capture) error {
	cwd, err := procfs.Cwd(int(c.held.PID))
	if err != nil {
		return err
	}
	c.rec.Cwd, c.rec.Umask = cwd, c.status.Umask
	c.rec.NoNewPrivs = c.status.NoNewPrivs != 0
	if c.rec.Personality, err = procfs.Personality(int(c.held.PID)); err != nil {
		return err
	}
	dumpable := c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE)
	reaper := make([]byte, 4)
	c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, reaper)
	c.later = append(c.later, func() {
		c.rec.Dumpable = int(dumpable.Ret)
		c.rec.Subreaper = reaper[0] != 0
	})
	return nil
}

func restoreAttributes(r *restore) error {
	if _, err := r.held.Call(unix.SYS_CHDIR, r.rec.Cwd); err != nil {
		return fmt.Errorf("working directory %s: %w", r.rec.Cwd, err)
	}
	if _, err := r.held.Call(unix.SYS_UMASK, r.rec.Umask); err != nil {
		return err
	}
	if r.rec.NoNewPrivs {
		if _, err := r.held.Call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	if r.rec.Subreaper {
		if _, err := r.held.Call(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1); err != nil {
			return err
		}
	}
	_, err := r.held.Call(unix.SYS_PERSONALITY, r.rec.Personality)
	return err
}
