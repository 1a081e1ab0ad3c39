package taskstate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// RobustList is the head of a thread's list of robust futexes (man 2
// set_robust_list).
type RobustList struct {
	Head   task.Addr `cbor:"1,keyasint" json:"head"`
	Length uint64    `cbor:"2,keyasint" json:"length"`
}

// Rseq is a registration with rseq(2); zero when there is none.
type Rseq struct {
	Addr      task.Addr `cbor:"1,keyasint" json:"addr"`
	Size      uint32    `cbor:"2,keyasint" json:"size"`
	Signature uint32    `cbor:"3,keyasint" json:"signature"`
}

// captureFutexes reads the addresses that the kernel keeps for a thread:
// robust futexes, clear_child_tid, rseq.
func captureFutexes(c *threadCapture) error {
	head, length, err := c.held.RobustList()
	if err != nil {
		return err
	}
	c.rec.Robust = RobustList{head, length}
	c.rec.Rseq = Rseq(c.held.Rseq)
	addr := make([]byte, 8)
	c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_TID_ADDRESS, addr)
	c.later = append(c.later, func() { c.rec.ClearTID = task.Addr(binary.LittleEndian.Uint64(addr)) })
	return nil
}

func restoreFutexes(r *threadRestore) error {
	r.batch.Add(unix.SYS_SET_TID_ADDRESS, r.rec.ClearTID)
	if r.rec.Robust.Head != 0 {
		r.batch.Add(unix.SYS_SET_ROBUST_LIST, r.rec.Robust.Head, r.rec.Robust.Length)
	}
	if q := r.rec.Rseq; q.Addr != 0 {
		r.batch.Add(unix.SYS_RSEQ, q.Addr, q.Size, 0, q.Signature)
	}
	return nil
}
