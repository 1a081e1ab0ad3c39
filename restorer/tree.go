package restorer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"supervise/internal/task"
	"supervise/memimg"
	"supervise/netstate"
	"supervise/treestate"
)

// Tree is a restarted tree. All its processes run.
type Tree struct {
	Root      task.PID        // host pid of the tree's root
	Record    *treestate.Tree // what was restored
	NoIoUring bool            // every thread has the filter of run --no-io-uring
	Stopped   bool            // the root came back stopped by job control
	Phases    []memimg.Phase  // the time line of the restart

	Control []netstate.ControlEnd // of the tree's control connections; the caller's to close

	status *os.File
	term   *terminal
}

// Wait waits for the tree's root to end and gives its wait status, exactly as
// a parent gets it from wait4(2). The terminal is ours again after it.
func (t *Tree) Wait() (syscall.WaitStatus, error) {
	defer t.term.restore()
	if t.status != nil {
		return t.waitInit()
	}
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(int(t.Root), &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for pid %d: %w", t.Root, err)
		}
		return ws, nil
	}
}

// waitInit reads what the init of the tree's namespace tells. When it is
// killed, everything in the namespace is killed with it (man 7 pid_namespaces).
func (t *Tree) waitInit() (syscall.WaitStatus, error) {
	var b [4]byte
	_, err := io.ReadFull(t.status, b[:])
	t.status.Close()
	if errors.Is(err, io.EOF) {
		return syscall.WaitStatus(syscall.SIGKILL), nil
	}
	return syscall.WaitStatus(binary.LittleEndian.Uint32(b[:])), err
}
