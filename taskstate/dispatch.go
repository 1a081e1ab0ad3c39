package taskstate

import (
	"supervise/internal/task"
)

// Dispatch is how a thread handles the system calls of foreign code itself
// (Linux Documentation/admin-guide/syscall-user-dispatch.rst).
type Dispatch struct {
	Selector task.Addr `cbor:"1,keyasint" json:"selector"`
	Offset   task.Addr `cbor:"2,keyasint" json:"offset"`
	Length   uint64    `cbor:"3,keyasint" json:"length"`
	Mode     uint64    `cbor:"4,keyasint" json:"mode"`
}

// DispatchProblem says why no calls can be made in a thread, or nothing: it is
// in foreign code, for which the selector says that calls go to a handler. To
// change that for the moment would do harm if we died then.
func DispatchProblem(t *task.Thread) string {
	const allow = 0 // SYSCALL_DISPATCH_FILTER_ALLOW
	switch {
	case t.Dispatch.Mode == 0:
		return ""
	case t.Dispatch.Selector == 0:
		return "it handles all system calls of a range of code itself"
	}
	selector := []byte{allow}
	if err := task.Read(t.Proc.PID, selector, t.Dispatch.Selector); err != nil {
		return err.Error()
	}
	if selector[0] != allow {
		return "it is in code whose system calls it handles itself"
	}
	return ""
}

func captureDispatch(c *threadCapture) error {
	if c.held.Dispatch.Mode != 0 {
		d := Dispatch(c.held.Dispatch)
		c.rec.Dispatch = &d
	}
	return nil
}

// restoreDispatch: it takes effect when the thread is let go.
func restoreDispatch(r *threadRestore) error {
	if r.rec.Dispatch != nil {
		r.held.Dispatch = task.Dispatch(*r.rec.Dispatch)
	}
	return nil
}
