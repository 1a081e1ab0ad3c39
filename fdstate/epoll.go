package fdstate

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Epoll is the image record of an epoll(7) instance.
type Epoll struct {
	Interests []Interest `cbor:"1,keyasint,omitempty" json:"interests,omitempty"`
}

// Interest is a file that an epoll instance watches. The kernel knows it by
// the description and the number under which it was added.
type Interest struct {
	Proc   int    `cbor:"1,keyasint,omitempty" json:"proc"` // index of a process that has it
	FD     int    `cbor:"2,keyasint" json:"fd"`
	Events uint32 `cbor:"3,keyasint" json:"events"`
	Data   uint64 `cbor:"4,keyasint,omitempty" json:"data"`

	// Moved: the process has the file as Source now, since FD was closed, or
	// is another file.
	Moved  bool `cbor:"5,keyasint,omitempty" json:"moved,omitempty"`
	Source int  `cbor:"6,keyasint,omitempty" json:"source,omitempty"`
}

func captureEpoll(d *Desc, s *Survey) (Record, error) {
	targets, err := d.Info.Epoll()
	if err != nil {
		return nil, err
	}
	known, err := s.probeTargets(d, targets)
	if err != nil {
		return nil, err
	}
	rec := &Epoll{}
	seen := map[int]int{} // number: how often it was added
	for _, t := range targets {
		in := Interest{Proc: d.Proc, FD: t.TFD, Events: t.Events, Data: t.Data}
		if !known[t.TFD] {
			found, err := s.findTarget(d, t, seen[t.TFD], &in)
			if err != nil {
				return nil, err
			}
			if !found {
				return nil, Refuse(fmt.Sprintf("it watches a file that was added as fd %d, and that no process with this epoll instance has open", t.TFD), "")
			}
		}
		seen[t.TFD]++
		rec.Interests = append(rec.Interests, in)
	}
	return rec, nil
}

// manyTargets is from how many targets on it pays to ask inside: kcmp(2) looks
// at every target of the instance (Linux fs/eventpoll.c:ep_find_tfd, v6.12).
const manyTargets = 100

// probeTargets tells which numbers lead to what was added under them. The
// kernel refuses to add such a file once more, and changes nothing then; one
// that it took would be removed again. A number that was added twice, for two
// files, is left out.
func (s *Survey) probeTargets(d *Desc, targets []procfs.EpollTarget) (map[int]bool, error) {
	known := map[int]bool{}
	if len(targets) < manyTargets {
		return known, nil
	}
	if err := s.Procs[d.Proc].Infect(); err != nil {
		return nil, err
	}
	counts := map[int]int{}
	for _, t := range targets {
		counts[t.TFD]++
	}
	var add, remove task.Batch
	calls := map[int]*task.Call{}
	for num, n := range counts {
		if n == 1 && s.at(d.Proc, num) != nil {
			calls[num] = add.Add(unix.SYS_EPOLL_CTL, d.FD, unix.EPOLL_CTL_ADD, num, epollEvent(0, 0)).Optional()
		}
	}
	err := s.Procs[d.Proc].Held.Run(&add)
	for num, c := range calls {
		known[num] = c.Err() == unix.EEXIST
		if c.Ret == 0 {
			remove.Add(unix.SYS_EPOLL_CTL, d.FD, unix.EPOLL_CTL_DEL, num, 0)
		}
	}
	if remove.Len() > 0 {
		err = errors.Join(err, s.Procs[d.Proc].Held.Run(&remove))
	}
	return known, err
}

// findTarget looks for a process in which the number under which a file was
// added still leads to it or, if there is none, one that has it otherwise.
func (s *Survey) findTarget(d *Desc, t procfs.EpollTarget, nth int, in *Interest) (bool, error) {
	for _, u := range d.Users {
		if same, err := s.isTarget(d, u, t, nth, u.Proc, t.TFD); err != nil || same {
			in.Proc = u.Proc
			return same, err
		}
	}
	for _, other := range s.Descs {
		if other.Info.Ino != t.Ino {
			continue
		}
		for _, u := range d.Users {
			i := slices.IndexFunc(other.Users, func(v User) bool { return v.Proc == u.Proc })
			if i < 0 {
				continue
			}
			if same, err := s.isTarget(d, u, t, nth, u.Proc, other.Users[i].Num); err != nil || same {
				in.Proc, in.Moved, in.Source = u.Proc, true, other.Users[i].Num
				return same, err
			}
		}
	}
	return false, nil
}

// isTarget tells whether descriptor num of a process is what an epoll instance,
// of which u is a descriptor, watches as the nth target added as t.TFD.
func (s *Survey) isTarget(d *Desc, u User, t procfs.EpollTarget, nth, proc, num int) (bool, error) {
	target := s.at(proc, num)
	if target == nil || target.Info.Ino != t.Ino {
		return false, nil
	}
	if target.mode() == unix.S_IFSOCK {
		return true, nil // a socket has one description only
	}
	same, err := kcmpTarget(s.pid(u.Proc), num, u.Num, t.TFD, nth)
	return same, s.explain(u.Proc, err)
}

// Check is for records out of an image.
func (rec *Epoll) Check(s *State) error {
	for _, in := range rec.Interests {
		if in.Proc < 0 || in.Proc >= len(s.Tables) {
			return fmt.Errorf("no process %d", in.Proc)
		}
		if in.FD < 0 || in.FD > maxNumber || in.Source < 0 || in.Source > maxNumber {
			return fmt.Errorf("watches fd %d (%d)", in.FD, in.Source)
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
		if !slices.Contains(list, in.Proc) {
			list = append(list, in.Proc)
		}
	}
	return list
}

// disarmed is what is left of EPOLLONESHOT that has fired, EPOLLERR and
// EPOLLHUP included, which the kernel adds when it is added.
func (in *Interest) disarmed() bool {
	const kept = unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLWAKEUP
	return in.Events&unix.EPOLLONESHOT != 0 && in.Events&^uint32(kept) == 0
}

// Link adds what is known by numbers of process i. A ready file is reported
// again after that, even when it was added edge-triggered. What has fired and
// is disarmed comes first, when nothing else can be reported.
func (rec *Epoll) Link(o *Opener, i, file int) {
	epfd := o.r.number(i, file)
	alone := len(rec.procs(0)) == 1
	for _, fired := range []bool{true, false} {
		for _, in := range rec.Interests {
			if in.Proc == i && in.disarmed() == fired && o.r.watches(i, in.number()) {
				in.add(o, i, epfd, fired && alone && !in.Moved)
			}
		}
	}
}

// number is under which number the process has the file now.
func (in *Interest) number() int {
	if in.Moved {
		return in.Source
	}
	return in.FD
}

// watches tells whether a number leads to what it did. If a rule has closed or
// redirected it, the interest is gone, as it is after close(2).
func (r *Restorer) watches(i, num int) bool {
	fd := r.state.Tables[i].at(num)
	if fd == nil {
		return false
	}
	_, other := r.records[fd.File].(*Redirected)
	return !other
}

// add queues the calls for one target. When it was added under another number
// than it has now, it takes that number for as long as it takes.
func (in *Interest) add(o *Opener, i, epfd int, fire bool) {
	what := fmt.Sprintf("epoll_ctl of fd %d", in.FD)
	back := -1
	closeOnExec := false
	if in.Moved {
		if fd := o.r.state.Tables[i].at(in.FD); fd != nil {
			back, closeOnExec = o.r.Reserve(), fd.CloseOnExec
			o.Dup(in.FD, Slot{back, true})
		}
		o.Dup(in.Source, Slot{in.FD, true})
	}
	events := in.Events
	if fire {
		events |= unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI | unix.EPOLLRDHUP
	}
	o.Call(what, unix.SYS_EPOLL_CTL, epfd, unix.EPOLL_CTL_ADD, in.FD, epollEvent(events, in.Data))
	if fire {
		in.fire(o, epfd)
	}
	switch {
	case back >= 0:
		o.Dup(back, Slot{in.FD, closeOnExec})
		o.Call("close", unix.SYS_CLOSE, back)
	case in.Moved:
		o.Call("close", unix.SYS_CLOSE, in.FD)
	}
}

// fire disarms a target as it was: by being reported, if it is ready for
// anything now. Otherwise it waits for errors, as every target does that is
// added.
func (in *Interest) fire(o *Opener, epfd int) {
	got := o.Call("epoll_wait", unix.SYS_EPOLL_WAIT, epfd, make([]byte, len(epollEvent(0, 0))), 1, 0)
	o.Then(func() error {
		if got.Ret > 0 {
			return nil
		}
		_, err := o.Proc.Call(unix.SYS_EPOLL_CTL, epfd, unix.EPOLL_CTL_MOD, in.FD, epollEvent(in.Events, in.Data))
		if err != nil {
			return fmt.Errorf("epoll_ctl of fd %d: %w", in.FD, err)
		}
		return nil
	})
}
