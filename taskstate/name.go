package taskstate

import (
	"golang.org/x/sys/unix"
)

const nameSize = 16 // TASK_COMM_LEN

func captureName(c *threadCapture) error {
	name := make([]byte, nameSize)
	c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_NAME, name)
	c.later = append(c.later, func() { c.rec.Name = unix.ByteSliceToString(name) })
	return nil
}

func restoreName(r *threadRestore) error {
	r.batch.Add(unix.SYS_PRCTL, unix.PR_SET_NAME, r.rec.Name)
	return nil
}
