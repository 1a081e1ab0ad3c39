package taskstate

import (
	"golang.org/x/sys/unix"
)

// capturePersonality: every thread has its own (man 2 personality).
func capturePersonality(c *threadCapture) error {
	const query = 0xffffffff
	now := c.batch.Add(unix.SYS_PERSONALITY, query)
	c.later = append(c.later, func() { c.rec.Personality = uint64(now.Ret) })
	return nil
}

func restorePersonality(r *threadRestore) error {
	r.batch.Add(unix.SYS_PERSONALITY, r.rec.Personality)
	return nil
}
