package taskstate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// AltStack is a thread's alternate signal stack (man 2 sigaltstack).
type AltStack struct {
	SP    task.Addr `cbor:"1,keyasint" json:"sp"`
	Flags int32     `cbor:"2,keyasint" json:"flags"`
	Size  uint64    `cbor:"3,keyasint" json:"size"`
}

// The kernel computes SS_ONSTACK from the stack pointer, and SS_DISABLE means
// that there is none; neither can be set.
const (
	ssOnStack = 1
	ssDisable = 2
)

func captureAltStack(c *threadCapture) error {
	buf := make([]byte, 24)
	c.batch.Add(unix.SYS_SIGALTSTACK, 0, buf)
	c.later = append(c.later, func() {
		c.rec.AltStack = AltStack{
			SP:    task.Addr(binary.LittleEndian.Uint64(buf[0:])),
			Flags: int32(binary.LittleEndian.Uint32(buf[8:])),
			Size:  binary.LittleEndian.Uint64(buf[16:]),
		}
	})
	return nil
}

func restoreAltStack(r *threadRestore) error {
	a := r.rec.AltStack
	if a.Flags&ssDisable != 0 {
		return nil
	}
	buf := make([]byte, 24)
	binary.LittleEndian.PutUint64(buf[0:], uint64(a.SP))
	binary.LittleEndian.PutUint32(buf[8:], uint32(a.Flags&^ssOnStack))
	binary.LittleEndian.PutUint64(buf[16:], a.Size)
	r.batch.Add(unix.SYS_SIGALTSTACK, buf, 0)
	return nil
}
