package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// lent is an option of a socket that is set otherwise for the moment of a
// look at its queue.
type lent struct{ level, name, before, during int }

// lend chooses what options a look needs: those that the socket has not got
// are left out.
func lend(fd int, wanted ...lent) ([]lent, error) {
	var list []lent
	for _, o := range wanted {
		var err error
		o.before, err = unix.GetsockoptInt(fd, o.level, o.name)
		switch {
		case errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EOPNOTSUPP):
		case err != nil:
			return nil, fmt.Errorf("getsockopt %d of level %d: %w", o.name, o.level, err)
		default:
			list = append(list, o)
		}
	}
	return list, nil
}

// lookInside runs look while a socket has other options. A process of the tree
// sets them, and sets them back by the same run of calls, so that they are set
// back though we die.
func lookInside(d *fdstate.Desc, all *fdstate.Survey, options []lent, look func() error) error {
	p, err := all.Inside(d.Proc)
	if err != nil {
		return err
	}
	var b task.Batch
	set := func(o lent, value int) {
		b.Add(unix.SYS_SETSOCKOPT, d.FD, o.level, o.name, binary.LittleEndian.AppendUint32(nil, uint32(value)), 4)
	}
	for _, o := range options {
		set(o, o.during)
	}
	b.Pause(func() error { return errors.Join(all.Moment("peek"), look()) })
	for _, o := range options {
		set(o, o.before)
	}
	return p.Run(&b)
}
