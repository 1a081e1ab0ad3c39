package task

import (
	"fmt"

	"supervise/internal/procfs"
)

// StuckError says that a task could not be stopped in time.
type StuckError struct {
	PID   PID
	TID   TID
	Comm  string
	State byte

	// Leftover: it is in code of a supervisor that was killed, on its way back
	// to the program.
	Leftover bool
}

func (e *StuckError) Error() string {
	why := "it did not answer"
	switch {
	case e.Leftover:
		why = "it has not come back from code of a supervisor that was killed; if it is stopped, continue it"
	case e.State == 'D':
		why = "it is in an uninterruptible wait (state D): a vfork whose child has not called exec, or a device that does not answer"
	}
	return fmt.Sprintf("freeze task %d of pid %d (%s): %s", e.TID, e.PID, e.Comm, why)
}

// TracedError says that another tracer holds the task.
type TracedError struct {
	PID    PID
	TID    TID
	Tracer PID
	Comm   string // of the tracer; empty if it is out of sight
}

func (e *TracedError) Error() string {
	return fmt.Sprintf("freeze task %d of pid %d: traced by pid %d (%s) already", e.TID, e.PID, e.Tracer, e.Comm)
}

// traced says who traces a task.
func traced(pid PID, tid TID, tracer PID) error {
	e := &TracedError{PID: pid, TID: tid, Tracer: tracer}
	if st, err := procfs.ReadStat(int(tracer)); err == nil {
		e.Comm = st.Comm
	}
	return e
}

func (t *Thread) stuck() error {
	e := &StuckError{PID: t.Proc.PID, TID: t.TID}
	if st, err := procfs.ReadTaskStat(int(t.Proc.PID), int(t.TID)); err == nil {
		e.Comm, e.State = st.Comm, st.State
	}
	return e
}
