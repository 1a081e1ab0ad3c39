package taskstate

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Limit is one resource limit; its index in Process.Limits is the resource's
// number (man 2 getrlimit).
type Limit struct {
	Soft uint64 `cbor:"1,keyasint" json:"soft"`
	Hard uint64 `cbor:"2,keyasint" json:"hard"`
}

// Resources is the number of resource limits (RLIM_NLIMITS).
const Resources = 16

// captureLimits asks inside: from outside it takes CAP_SYS_RESOURCE for
// another user's process.
func captureLimits(c *capture) error {
	c.rec.Limits = make([]Limit, Resources)
	for i := range Resources {
		buf := make([]byte, 16)
		c.batch.Add(unix.SYS_PRLIMIT64, 0, i, 0, buf)
		c.later = append(c.later, func() {
			c.rec.Limits[i] = Limit{binary.LittleEndian.Uint64(buf[0:]), binary.LittleEndian.Uint64(buf[8:])}
		})
	}
	return nil
}

// restoreLimits sets the limits from outside. That of pending signals comes when
// they are queued again: the program may have lowered it since.
func restoreLimits(r *restore) error {
	for i, l := range r.rec.Limits {
		want := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		if i == unix.RLIMIT_SIGPENDING {
			want = unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		}
		if err := setLimit(r.held.PID, i, want); err != nil {
			return err
		}
	}
	return nil
}

// restoreSignalLimit is for the end. By now the process may be another user's,
// whose limits only it can set itself, unless we have CAP_SYS_RESOURCE.
func (rec *Process) restoreSignalLimit(held *task.Process) error {
	l := rec.Limits[unix.RLIMIT_SIGPENDING]
	err := setLimit(held.PID, unix.RLIMIT_SIGPENDING, unix.Rlimit{Cur: l.Soft, Max: l.Hard})
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	have := make([]byte, 16)
	if _, err := held.Call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_SIGPENDING, 0, have); err != nil {
		return err
	}
	hard := min(l.Hard, binary.LittleEndian.Uint64(have[8:]))
	want := binary.LittleEndian.AppendUint64(nil, min(l.Soft, hard))
	_, err = held.Call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_SIGPENDING, binary.LittleEndian.AppendUint64(want, hard), 0)
	return err
}

// setLimit sets a limit. A hard limit that is above ours and that we may not
// raise stays as it is here.
func setLimit(pid task.PID, resource int, want unix.Rlimit) error {
	var have unix.Rlimit
	if err := unix.Prlimit(int(pid), resource, nil, &have); err != nil {
		return err
	}
	if have == want {
		return nil
	}
	err := unix.Prlimit(int(pid), resource, &want, nil)
	if errors.Is(err, unix.EPERM) {
		want.Max = min(want.Max, have.Max)
		want.Cur = min(want.Cur, want.Max)
		err = unix.Prlimit(int(pid), resource, &want, nil)
	}
	return err
}
