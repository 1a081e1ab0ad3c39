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
	var ok bool
	if owner.ID, ok = s.ownerID(host); !ok {
		if d.leadsOutside() {
			return nil, nil // whoever it shares the terminal with
		}
		return nil, Refuse(fmt.Sprintf("its signals go to %d, which is not in the tree (fcntl F_SETOWN)", host.PID), "")
	}
	if isDirectory(d) {
		return nil, Refuse("a process gets signals about changes in it (fcntl F_NOTIFY)", "inotify(7) is what took its place")
	}
	return owner, nil
}

// ownerID translates a thread, a process or a group of the tree to the id that
// the tree's pid namespace shows.
func (s *Survey) ownerID(host ownerEx) (id int32, ok bool) {
	switch host.Type {
	case ownerTID:
		for _, p := range s.Procs {
			for _, t := range p.Held.Threads {
				if int32(t.TID) == host.PID {
					return int32(t.ID), true
				}
			}
		}
	case ownerPID:
		if i, ok := s.byPID[task.PID(host.PID)]; ok {
			return int32(s.Procs[i].Held.ID), true
		}
	case ownerPGRP:
		for _, p := range s.Procs {
			st, err := procfs.ReadStatus(int(p.Held.PID))
			if n := len(st.NSpgid); err == nil && n > 0 && st.NSpgid[0] == int(host.PID) {
				return int32(p.Held.Aliases.Own(task.ID(st.NSpgid[n-1]))), true
			}
		}
	}
	return 0, false
}

// restore queues the calls for descriptor num. O_ASYNC comes last, when there
// is somebody to signal.
func (w *Owner) restore(o *Opener, num, flags int) {
	if w.ID != 0 {
		buf := binary.LittleEndian.AppendUint32(nil, uint32(w.Type))
		buf = binary.LittleEndian.AppendUint32(buf, uint32(o.Proc.Aliases.Kernel(task.ID(w.ID))))
		o.Call("fcntl F_SETOWN_EX", unix.SYS_FCNTL, num, unix.F_SETOWN_EX, buf)
	}
	if w.Signal != 0 {
		o.Call("fcntl F_SETSIG", unix.SYS_FCNTL, num, unix.F_SETSIG, w.Signal)
	}
	if flags&unix.O_ASYNC != 0 {
		o.Call("fcntl F_SETFL", unix.SYS_FCNTL, num, unix.F_SETFL, flags)
	}
}
