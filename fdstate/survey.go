package fdstate

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Proc is one process of a frozen tree, or a thread with a descriptor table of
// its own (Thread.Alone). These come last.
type Proc struct {
	Held *task.Process
	Comm string

	// Shares: its descriptor table is that of an earlier process, which has
	// the descriptors in the image.
	Shares bool

	// Infect prepares it for calls inside, which take time, so only a few
	// questions are asked that way. It may be called more than once.
	Infect func() error
}

// call makes a system call inside.
func (p *Proc) call(nr uintptr, args ...any) (int64, error) {
	if err := p.Infect(); err != nil {
		return 0, err
	}
	return p.Held.Call(nr, args...)
}

// Survey is what a tree's descriptors look like as a whole: kinds that lie in
// several descriptions find their other parts here.
type Survey struct {
	Procs []Proc
	Descs []*Desc // in order of their first user
	Env   Env

	tables  [][]entry
	byPID   map[task.PID]int
	pidfd   struct{ proc, fd int } // the last one used; fd 0 is none
	pipes   map[inode]*pipe
	mqueues map[uint64]bool // devices of mounted message queues
	emptied map[uint64]bool // message queues whose messages are in a record
	ttys    map[ttyName]*terminal

	waited  bool // see Rules.Waited
	moment  func(name string) error
	watched *watched // nil until somebody asks
	byInode map[inode][]*Desc
}

// entry is one descriptor while descriptions are still being found.
type entry struct {
	proc, num   int
	ino         inode
	info        procfs.FDInfo
	closeOnExec bool
	desc        *Desc
}

type inode struct{ dev, ino uint64 }

// newSurvey finds all descriptors and the descriptions behind them.
func newSurvey(procs []Proc, kinds []Kind, env Env, rules *Rules) (*Survey, error) {
	s := &Survey{Procs: procs, Env: env, waited: rules.Waited, moment: rules.Moment, byPID: map[task.PID]int{}, tables: make([][]entry, len(procs)),
		pipes: map[inode]*pipe{}, emptied: map[uint64]bool{}, ttys: map[ttyName]*terminal{}}
	for i, p := range procs {
		if _, thread := s.byPID[p.Held.TGID]; !thread {
			s.byPID[p.Held.TGID] = i
		}
	}
	for i, p := range procs {
		if p.Shares {
			continue
		}
		if err := s.readTable(i); err != nil {
			return nil, s.explain(i, fmt.Errorf("descriptors of pid %d: %w", s.pid(i), err))
		}
	}
	if err := s.group(); err != nil {
		return nil, err
	}
	if err := s.describeAll(kinds); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Survey) pid(proc int) task.PID {
	if proc == noProcess {
		return task.PID(os.Getpid())
	}
	return s.Procs[proc].Held.PID
}

// Moment is called at moments when the tree is otherwise than it was, which must
// do no harm though we die.
func (s *Survey) Moment(name string) error {
	if s.moment == nil {
		return nil
	}
	return s.moment(name)
}

// Inside gives a process that calls can be made in.
func (s *Survey) Inside(proc int) (*task.Process, error) {
	p := &s.Procs[proc]
	return p.Held, p.Infect()
}

// at gives the description behind a process's descriptor, or nil.
func (s *Survey) at(proc, num int) *Desc {
	if e := s.entry(proc, num); e != nil {
		return e.desc
	}
	return nil
}

func (s *Survey) entry(proc, num int) *entry {
	table := s.tables[proc]
	i, ok := slices.BinarySearchFunc(table, num, func(e entry, num int) int { return cmp.Compare(e.num, num) })
	if !ok {
		return nil
	}
	return &table[i]
}

func (s *Survey) readTable(proc int) error {
	pid := int(s.pid(proc))
	nums, err := procfs.FDs(pid)
	if err != nil {
		return err
	}
	if len(nums) == 0 {
		return s.alive(proc)
	}
	table := make([]entry, len(nums))
	for i, num := range nums {
		e := entry{proc: proc, num: num}
		var st unix.Stat_t
		if err := unix.Stat(fdPath(s.pid(proc), num), &st); err != nil {
			return fmt.Errorf("stat fd %d: %w", num, err)
		}
		e.ino = inode{st.Dev, st.Ino}
		if e.info, err = procfs.ReadFDInfo(pid, num); err != nil {
			return err
		}
		e.closeOnExec = e.info.Flags&unix.O_CLOEXEC != 0
		table[i] = e
	}
	s.tables[proc] = table
	return nil
}

func fdPath(pid task.PID, num int) string { return fmt.Sprintf("/proc/%d/fd/%d", pid, num) }

// group finds the descriptions: descriptors of the same inode are compared by
// kcmp(2), whose answer is an order, so that sorting brings equal ones
// together in n log n steps.
func (s *Survey) group() error {
	byInode := map[inode][]*entry{}
	for _, table := range s.tables {
		for i := range table {
			e := &table[i]
			byInode[e.ino] = append(byInode[e.ino], e)
		}
	}
	for _, same := range byInode {
		if err := s.groupInode(same); err != nil {
			return err
		}
	}
	slices.SortFunc(s.Descs, func(a, b *Desc) int { return a.Users[0].compare(b.Users[0]) })
	s.byInode = map[inode][]*Desc{}
	for i, d := range s.Descs {
		d.index = i
		key := s.entry(d.Users[0].Proc, d.Users[0].Num).ino
		s.byInode[key] = append(s.byInode[key], d)
	}
	return nil
}

func (u User) compare(v User) int {
	return cmp.Or(cmp.Compare(u.Proc, v.Proc), cmp.Compare(u.Num, v.Num))
}

// groupInode makes descriptions of the descriptors of one inode.
func (s *Survey) groupInode(same []*entry) error {
	var failed error
	compare := func(a, b *entry) int {
		order, err := kcmpFile(s.pid(a.proc), a.num, s.pid(b.proc), b.num)
		if err != nil && failed == nil {
			failed = errors.Join(s.explain(a.proc, err), s.explain(b.proc, err))
		}
		return order
	}
	slices.SortFunc(same, compare)
	first := len(s.Descs)
	for i, e := range same {
		if i > 0 && compare(same[i-1], e) == 0 {
			e.desc = same[i-1].desc
		} else {
			e.desc = &Desc{survey: s}
			s.Descs = append(s.Descs, e.desc)
		}
		e.desc.Users = append(e.desc.Users, User{Proc: e.proc, Num: e.num})
	}
	for _, d := range s.Descs[first:] {
		slices.SortFunc(d.Users, User.compare)
	}
	return failed
}

// describeAll looks at every description through its first user, and then at
// what can only be told from all of them. Exploring one may add others.
func (s *Survey) describeAll(kinds []Kind) error {
	for i := 0; i < len(s.Descs); i++ {
		d := s.Descs[i]
		if !d.InFlight() {
			first := d.Users[0]
			d.Proc, d.FD, d.Info = first.Proc, first.Num, s.entry(first.Proc, first.Num).info
		}
		if err := s.describe(d, kinds); err != nil {
			return s.explain(d.Proc, fmt.Errorf("fd %d of pid %d: %w", d.FD, s.pid(d.Proc), err))
		}
	}
	for _, d := range s.Descs {
		if kind := kindOf(kinds, d); kind != nil && kind.Outside != nil && kind.Outside(d) {
			s.markOutside([]*Desc{d}, nil)
		}
	}
	for _, look := range []func() error{s.surveyLocks, s.surveyPipes, s.surveyTerminals} {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Survey) describe(d *Desc, kinds []Kind) error {
	d.PID = s.pid(d.Proc)
	d.Comm = s.Procs[d.reporter().Proc].Comm
	var err error
	if d.Link, err = procfs.FDLink(int(d.PID), d.FD); err != nil {
		return err
	}
	if err := unix.Stat(fdPath(d.PID, d.FD), &d.Stat); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if d.mode() != unix.S_IFSOCK || d.Info.Flags&unix.O_PATH != 0 {
		return nil
	}
	if err = d.look(d.describeSocket); err != nil {
		return err
	}
	if kind := kindOf(kinds, d); kind != nil && kind.Explore != nil {
		return kind.Explore(d, s)
	}
	return nil
}

// describeSocket asks what kind of socket it is.
func (d *Desc) describeSocket(fd int) error {
	s := &d.Socket
	for _, o := range []struct {
		name int
		to   *int
	}{{unix.SO_DOMAIN, &s.Domain}, {unix.SO_TYPE, &s.Type}, {unix.SO_PROTOCOL, &s.Protocol}} {
		var err error
		if *o.to, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.name); err != nil {
			return fmt.Errorf("getsockopt: %w", err)
		}
	}
	return nil
}

// copyFD takes a copy of a process's descriptor. The pidfd of the last
// process is kept, as descriptions are looked at process by process.
func (s *Survey) copyFD(proc, num int) (int, error) {
	if proc == noProcess {
		return unix.FcntlInt(uintptr(num), unix.F_DUPFD_CLOEXEC, 0)
	}
	if s.pidfd.fd == 0 || s.pidfd.proc != proc {
		s.closePidfd()
		fd, err := s.Procs[proc].Held.Pidfd()
		if err != nil {
			return -1, fmt.Errorf("pidfd_open %d: %w", s.pid(proc), err)
		}
		s.pidfd.proc, s.pidfd.fd = proc, fd
	}
	fd, err := unix.PidfdGetfd(s.pidfd.fd, num, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd: %w", err)
	}
	return fd, nil
}

func (s *Survey) close() {
	s.closeFlight()
	s.closePidfd()
}

func (s *Survey) closePidfd() {
	if s.pidfd.fd != 0 {
		unix.Close(s.pidfd.fd)
		s.pidfd.fd = 0
	}
}

// explain turns any error about a process that has died into ErrGone: what
// /proc and the rest answer then depends on how far its exit has come.
func (s *Survey) explain(proc int, err error) error {
	if err == nil || proc == noProcess || errors.Is(err, task.ErrGone) {
		return err
	}
	if gone := s.alive(proc); gone != nil {
		return fmt.Errorf("%w (%w)", gone, err)
	}
	return err
}

// alive gives ErrGone for a process that is dead or dying.
func (s *Survey) alive(proc int) error {
	const exiting = 0x4 // PF_EXITING, Linux include/linux/sched.h
	st, err := procfs.ReadStat(int(s.pid(proc)))
	if procfs.Gone(err) || err == nil && (st.State == 'Z' || st.State == 'X' || st.Flags&exiting != 0) {
		return fmt.Errorf("pid %d: %w", s.pid(proc), task.ErrGone)
	}
	return err
}
