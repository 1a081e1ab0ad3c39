package fdstate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// Epoll is the image record of an epoll(7) instance.
type Epoll struct {
	Interests []Interest `cbor:"1,keyasint,omitempty" json:"interests,omitempty"`
}

// Interest is a file that an epoll instance watches. The kernel knows it by
// the description and the number under which it was added.
type Interest struct {
	Proc   int    `cbor:"1,keyasint,omitempty" json:"proc"` // index of a process that has it under that number
	FD     int    `cbor:"2,keyasint" json:"fd"`
	Events uint32 `cbor:"3,keyasint" json:"events"`
	Data   uint64 `cbor:"4,keyasint,omitempty" json:"data"`
}

func captureEpoll(d *Desc, s *Survey) (Record, error) {
	targets, err := d.Info.Epoll()
	if err != nil {
		return nil, err
	}
	rec := &Epoll{}
	seen := map[int]int{} // number: how often it was added
	for _, t := range targets {
		proc, err := s.findTarget(d, t, seen[t.TFD])
		if err != nil {
			return nil, err
		}
		seen[t.TFD]++
		if proc < 0 {
			return nil, Refuse(fmt.Sprintf("it watches a file that was added as fd %d, and that is another file now", t.TFD), "")
		}
		rec.Interests = append(rec.Interests, Interest{Proc: proc, FD: t.TFD, Events: t.Events, Data: t.Data})
	}
	return rec, nil
}

// findTarget looks for a process in which the number under which a file was
// added still leads to it, or gives -1.
func (s *Survey) findTarget(d *Desc, t procfs.EpollTarget, nth int) (int, error) {
	for _, u := range d.Users {
		target := s.at(u.Proc, t.TFD)
		if target == nil || target.Info.Ino != t.Ino {
			continue
		}
		if target.mode() == unix.S_IFSOCK {
			return u.Proc, nil // a socket has one description only
		}
		same, err := kcmpTarget(s.pid(u.Proc), t.TFD, u.Num, nth)
		if err != nil {
			return -1, s.explain(u.Proc, err)
		}
		if same {
			return u.Proc, nil
		}
	}
	return -1, nil
}

// check is for records out of an image.
func (rec *Epoll) check(s *State) error {
	for _, in := range rec.Interests {
		if in.Proc < 0 || in.Proc >= len(s.Tables) {
			return fmt.Errorf("no process %d", in.Proc)
		}
	}
	return nil
}

// Restore makes an empty instance.
func (rec *Epoll) Restore(o *Opener, _ *File, at Slot) error {
	o.Open(at, "epoll_create1", unix.SYS_EPOLL_CREATE1, at.flag())
	return nil
}

// procs are the processes that have something to link.
func (rec *Epoll) procs(int) []int {
	var list []int
	for _, in := range rec.Interests {
		if len(list) == 0 || list[len(list)-1] != in.Proc {
			list = append(list, in.Proc)
		}
	}
	return list
}

// Link adds what is known by numbers of process i. A ready file is reported
// again after that, even when it was added edge-triggered.
func (rec *Epoll) Link(o *Opener, i, file int) {
	epfd := o.r.number(i, file)
	for _, in := range rec.Interests {
		if in.Proc == i && o.r.watches(i, in.FD) {
			o.Call(fmt.Sprintf("epoll_ctl of fd %d", in.FD), unix.SYS_EPOLL_CTL, epfd, unix.EPOLL_CTL_ADD, in.FD,
				epollEvent(in.Events, in.Data))
		}
	}
}

// watches tells whether a number leads to what it did. If a rule has closed or
// redirected it, the interest is gone, as it is after close(2).
func (r *Restorer) watches(i, num int) bool {
	for _, fd := range r.state.Tables[i] {
		if fd.Num == num {
			_, other := r.records[fd.File].(*Redirected)
			return !other
		}
	}
	return false
}
