package fdstate

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Types of owner (man 2 fcntl, F_SETOWN_EX).
const (
	ownerTID  = 0
	ownerPID  = 1
	ownerPGRP = 2
)

// Owner is the image record of who gets signals about a description, and
// which (man 2 fcntl, F_SETOWN and F_SETSIG).
type Owner struct {
	Type   int32 `cbor:"1,keyasint,omitempty" json:"type"`
	ID     int32 `cbor:"2,keyasint,omitempty" json:"id"` // as the tree's pid namespace shows it; 0 is nobody
	Signal int   `cbor:"3,keyasint,omitempty" json:"signal,omitempty"`
}

// captureOwner gives nil when nothing of it was ever set.
func (d *Desc) captureOwner(s *Survey) (*Owner, error) {
	if d.Flags()&unix.O_PATH != 0 {
		return nil, nil
	}
	var host ownerEx
	var signal int
	err := d.look(func(fd int) (err error) {
		if host, err = getOwner(fd); err != nil {
			return err
		}
		signal, err = unix.FcntlInt(uintptr(fd), unix.F_GETSIG, 0)
		return err
	})
	if err != nil || host.PID == 0 && signal == 0 && d.Flags()&unix.O_ASYNC == 0 {
		return nil, err
	}
	owner := &Owner{Type: host.Type, Signal: signal}
	if host.PID == 0 {
		return owner, nil
	}
	if !s.hasOwner(host) {
		if d.leadsOutside() {
			return nil, nil // whoever it shares the terminal with
		}
		return nil, Refuse(fmt.Sprintf("its signals go to %d, which is not in the tree (fcntl F_SETOWN)", host.PID), "")
	}
	buf := make([]byte, 8)
	if _, err := s.Procs[d.Proc].Held.Call(unix.SYS_FCNTL, d.FD, unix.F_GETOWN_EX, buf); err != nil {
		return nil, err
	}
	owner.ID = int32(binary.LittleEndian.Uint32(buf[4:]))
	return owner, nil
}

// hasOwner tells whether a process or a group is part of the tree. A thread
// is, if it leads a process: others do not exist yet when descriptors are
// restored.
func (s *Survey) hasOwner(host ownerEx) bool {
	if host.Type != ownerPGRP {
		_, ok := s.byPID[task.PID(host.PID)]
		return ok
	}
	for _, p := range s.Procs {
		if st, err := procfs.ReadStat(int(p.Held.PID)); err == nil && st.PGRP == int(host.PID) {
			return true
		}
	}
	return false
}

// restore queues the calls for descriptor num. O_ASYNC comes last, when there
// is somebody to signal.
func (w *Owner) restore(o *Opener, num, flags int) {
	if w.ID != 0 {
		buf := binary.LittleEndian.AppendUint32(nil, uint32(w.Type))
		buf = binary.LittleEndian.AppendUint32(buf, uint32(w.ID))
		o.Call("fcntl F_SETOWN_EX", unix.SYS_FCNTL, num, unix.F_SETOWN_EX, buf)
	}
	if w.Signal != 0 {
		o.Call("fcntl F_SETSIG", unix.SYS_FCNTL, num, unix.F_SETSIG, w.Signal)
	}
	if flags&unix.O_ASYNC != 0 {
		o.Call("fcntl F_SETFL", unix.SYS_FCNTL, num, unix.F_SETFL, flags)
	}
}
