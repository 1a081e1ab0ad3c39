package taskstate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// StopUnseen asks a parent, held and infected, whether it could still wait for
// the stop of a child. The answer stays where it is (man 2 waitid, WNOWAIT).
func StopUnseen(parent *task.Process, child task.ID) (bool, error) {
	info := make([]byte, 128)
	var b task.Batch
	b.Add(unix.SYS_WAITID, unix.P_PID, child, info, unix.WSTOPPED|unix.WNOWAIT|unix.WNOHANG, 0)
	if err := parent.Run(&b); err != nil {
		return false, fmt.Errorf("stop of child %d: %w", child, err)
	}
	return info[0] != 0, nil // si_signo is 0 when there is nothing to tell
}

// SeeStop has a parent wait for the stop of a child, which it had done before
// the snapshot.
func SeeStop(parent *task.Process, child task.ID) error {
	_, err := parent.Call(unix.SYS_WAIT4, child, 0, unix.WUNTRACED|unix.WNOHANG, 0)
	return err
}
