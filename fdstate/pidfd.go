package fdstate

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Pidfd is the image record of a pidfd_open(2) of a process or thread of the
// tree, or of one that has ended and been waited for.
type Pidfd struct {
	ID    int  `cbor:"1,keyasint" json:"id"` // as the tree's pid namespace shows it
	Ended bool `cbor:"2,keyasint,omitempty" json:"ended,omitempty"`
}

// pidfdThread is PIDFD_THREAD (Linux include/uapi/linux/pidfd.h, v6.9).
const pidfdThread = unix.O_EXCL

func isPidfd(d *Desc) bool { return d.anonName() == "[pidfd]" }

// capturePidfd reads the process's id in each pid namespace from ours down
// (Linux fs/pidfs.c:pidfd_show_fdinfo, v6.12). It is -1 when it has been waited
// for, and 0 when it is outside of ours.
func capturePidfd(d *Desc, s *Survey) (Record, error) {
	host, _ := d.Info.Value("Pid")
	nested, _ := d.Info.Value("NSpid")
	pid, err := strconv.Atoi(host)
	ids := strings.Fields(nested)
	switch {
	case err == nil && pid == -1:
		return &Pidfd{Ended: true}, nil
	case err != nil || pid <= 0 || len(ids) == 0:
		return nil, Refuse("its process is out of sight", "")
	case s.inTree(pid), s.hasThread(pid):
	default:
		return nil, Refuse("it refers to process "+host+", which is not in the tree", "")
	}
	id, err := strconv.Atoi(ids[len(ids)-1])
	return &Pidfd{ID: int(s.Procs[0].Held.Aliases.Own(task.ID(id)))}, err
}

// inTree tells whether a process is held, or is the dead child of one that is.
func (s *Survey) inTree(pid int) bool {
	st, err := procfs.ReadStat(pid)
	for _, p := range s.Procs {
		if int(p.Held.TGID) == pid || err == nil && st.State == 'Z' && st.PPID == int(p.Held.TGID) {
			return true
		}
	}
	return false
}

func (s *Survey) hasThread(tid int) bool {
	for _, p := range s.Procs {
		for _, t := range p.Held.Threads {
			if int(t.TID) == tid {
				return true
			}
		}
	}
	return false
}

// References are the ids of the processes and threads that descriptors refer
// to: they must exist when the descriptors are linked.
func (r *Restorer) References() map[task.ID]bool {
	ids := map[task.ID]bool{}
	for _, rec := range r.records {
		if rec, ok := rec.(*Pidfd); ok && !rec.Ended {
			ids[task.ID(rec.ID)] = true
		}
	}
	return ids
}

// inBuilder tells that the builder opens it: any process that has ended will do.
func (rec *Pidfd) inBuilder() bool { return rec.Ended }

// Restore opens the process or thread, which exists by now.
func (rec *Pidfd) Restore(o *Opener, f *File, at Slot) error {
	id := task.ID(rec.ID)
	if rec.Ended {
		if err := o.Run(); err != nil {
			return err
		}
		child, err := o.Proc.Clone(0, 0, 0)
		if err != nil {
			return err
		}
		id = child.ID
		o.Then(func() error {
			if err := child.Exit(0); err != nil {
				return err
			}
			_, err := o.Proc.Call(unix.SYS_WAIT4, id, 0, unix.WALL, 0)
			return err
		})
	}
	o.Open(at, "pidfd_open", unix.SYS_PIDFD_OPEN, id, f.Flags&(unix.O_NONBLOCK|pidfdThread))
	o.Call("set close-on-exec", unix.SYS_FCNTL, at.Num, unix.F_SETFD, at.CloseOnExec) // which it is, unasked
	return nil
}

// KeepsFlags: O_NONBLOCK is set at once, and there are no others.
func (*Pidfd) KeepsFlags() {}

// fetch queues a copy of a late description that another process, or a thread
// with descriptors of its own, has opened at num: there was no process to
// inherit it from (man 2 pidfd_getfd).
func (o *Opener) fetch(from *task.Process, num int, at Slot) {
	flags := 0
	if from.PID != from.TGID {
		flags = pidfdThread
	}
	holder := o.Reserve()
	o.Open(Slot{Num: holder, CloseOnExec: true}, "pidfd_open", unix.SYS_PIDFD_OPEN, from.ID, flags)
	o.Open(at, fmt.Sprintf("pidfd_getfd %d of process %d", num, from.ID), unix.SYS_PIDFD_GETFD, holder, num, 0)
	o.Call("set close-on-exec", unix.SYS_FCNTL, at.Num, unix.F_SETFD, at.CloseOnExec)
	o.Call("close", unix.SYS_CLOSE, holder)
}
