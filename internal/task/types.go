package task

import (
	"errors"
	"fmt"
	"syscall"

	"supervise/internal/procfs"
)

// PID is a process id as this supervisor's pid namespace shows it.
type PID int

// TID is a thread id as this supervisor's pid namespace shows it.
type TID int

// ID is a process or thread id as the tree itself sees it, in its own pid
// namespace. It differs from PID and TID when the tree was restarted into a
// namespace.
type ID int

// Addr is an address in a tracee. It is never dereferenced here.
type Addr uint64

// PageSize is the size of a page; both supported architectures use 4 KiB.
const PageSize = 4096

// ErrGone says that the task died while it was held. It is an ordinary
// error: anybody may SIGKILL a frozen process.
var ErrGone = errors.New("task is gone")

// CallError is a system call that failed inside a tracee.
type CallError struct {
	Name  string
	TID   TID
	Errno syscall.Errno
}

func (e *CallError) Error() string {
	return fmt.Sprintf("%s in task %d: %v", e.Name, e.TID, e.Errno)
}

func (e *CallError) Unwrap() error { return e.Errno }

// goneErr turns what the kernel says of a task that is dead or being killed,
// ESRCH of ptrace(2) and what procfs.Gone knows, into ErrGone.
func goneErr(op string, tid TID, err error) error {
	if procfs.Gone(err) {
		return fmt.Errorf("%s task %d: %w", op, tid, ErrGone)
	}
	return fmt.Errorf("%s task %d: %w", op, tid, err)
}
