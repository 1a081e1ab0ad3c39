package task

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"supervise/internal/procfs"
)

// How long a single attempt to stop every task may take, and how long the
// tree runs on between attempts, so that a vfork can end or a disk answer.
const (
	attemptTime = 300 * time.Millisecond
	pauseTime   = 20 * time.Millisecond
)

// Freeze seizes and stops every thread of the given processes and of all
// their descendants. It ends when a look over the whole tree finds nothing
// new, so that forks in flight are caught. When a task cannot be stopped, the
// tree is let go and tried again until patience is over; on error nothing is
// held.
func Freeze(roots []PID, patience time.Duration) (*Tree, error) {
	return FreezeAs(nil, roots, patience)
}

// FreezeAs is Freeze for a tree that has aliases.
func FreezeAs(aliases *Aliases, roots []PID, patience time.Duration) (*Tree, error) {
	deadline := time.Now().Add(patience)
	for {
		f := freezer{aliases: aliases, held: map[TID]*Thread{}, procs: map[PID]*Process{}}
		tree, err := f.freeze(roots, time.Now().Add(attemptTime))
		if err == nil {
			return tree, nil
		}
		f.letGo()
		if !passes(err, aliases) || time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(pauseTime)
	}
}

// passes tells whether what is in the way may be gone soon. Whoever translates the
// ids of a tree holds one of its threads now and then; a seize that failed for that
// may find it free again when it looks for the reason.
func passes(err error, aliases *Aliases) bool {
	var stuck *StuckError
	var traced *TracedError
	return errors.As(err, &stuck) || aliases != nil && (errors.As(err, &traced) || errors.Is(err, syscall.EPERM))
}

// freezer is one attempt at stopping a tree.
type freezer struct {
	aliases *Aliases
	held    map[TID]*Thread
	procs   map[PID]*Process
	order   []*Process
	zombies []PID
	grew    bool // the current look found something new
}

func (f *freezer) freeze(roots []PID, deadline time.Time) (*Tree, error) {
	for {
		f.order, f.zombies, f.grew = nil, nil, false
		for _, pid := range roots {
			if err := f.seizeTree(pid); err != nil {
				return nil, err
			}
		}
		if err := f.awaitAll(deadline); err != nil {
			return nil, err
		}
		if len(f.held) == 0 {
			return nil, fmt.Errorf("freeze pid %d: %w", roots[0], ErrGone)
		}
		if !f.grew {
			return f.tree()
		}
	}
}

// seizeTree attaches all threads of a process and goes on to its children.
func (f *freezer) seizeTree(pid PID) error {
	st, err := procfs.ReadStat(int(pid))
	if procfs.Gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.State == 'Z' && st.NumThreads <= 1 {
		f.zombies = append(f.zombies, pid)
		return nil
	}
	if st.State == 'X' {
		return nil
	}
	if err := f.seizeProcess(pid); err != nil {
		return err
	}
	children, err := procfs.Children(int(pid))
	if err != nil {
		return nil // it has just died; the next look tells
	}
	for _, child := range children {
		if err := f.seizeTree(PID(child)); err != nil {
			return err
		}
	}
	return nil
}

func (f *freezer) seizeProcess(pid PID) error {
	p := f.procs[pid]
	if p == nil {
		p = &Process{PID: pid, TGID: pid, options: traceNew, Aliases: f.aliases}
		f.procs[pid] = p
	}
	f.order = append(f.order, p)
	tids, err := procfs.Tasks(int(pid))
	if err != nil {
		return nil
	}
	for _, tid := range tids {
		if f.held[TID(tid)] != nil {
			continue
		}
		if err := f.seize(p, TID(tid)); err != nil {
			return err
		}
	}
	return nil
}

// seize attaches one thread and asks it to stop.
func (f *freezer) seize(p *Process, tid TID) error {
	err := ptraceSeize(tid, traceNew)
	switch {
	case errors.Is(err, syscall.ESRCH):
		return nil
	case err != nil:
		if mine, other := f.whyNotSeized(p.PID, tid, err); !mine {
			return other
		}
	}
	t := &Thread{TID: tid, Proc: p}
	f.held[tid], f.grew = t, true
	p.Threads = append(p.Threads, t)
	if err := ptraceInterrupt(tid); err != nil && !errors.Is(err, syscall.ESRCH) {
		return goneErr("interrupt", tid, err)
	}
	return f.catch(t)
}

// catch waits for the thread without sleeping for as long as a stop usually
// takes. Should we die between a stop and hideStop, a call that the kernel
// does not restart would end with EINTR: that window is kept small.
func (f *freezer) catch(t *Thread) error {
	const usual = 100 * time.Microsecond
	for end := time.Now().Add(usual); !t.stopped && time.Now().Before(end); {
		if err := f.poll(t); err != nil {
			return err
		}
		if f.held[t.TID] == nil {
			return nil
		}
	}
	return nil
}

// whyNotSeized explains a refused PTRACE_SEIZE. A new child of a tracee is
// ours already; a thread that is just exiting does not count.
func (f *freezer) whyNotSeized(pid PID, tid TID, cause error) (mine bool, err error) {
	st, err := procfs.ReadTaskStatus(int(pid), int(tid))
	if err != nil {
		return false, nil
	}
	switch {
	case st.TracerPID == os.Getpid() || st.TracerPID == syscall.Gettid():
		return true, nil
	case st.TracerPID != 0:
		return false, traced(pid, tid, PID(st.TracerPID))
	case st.State == 'Z' || st.State == 'X':
		return false, nil
	}
	return false, fmt.Errorf("seize task %d of pid %d (%s, uid %d): %w", tid, pid, st.Name, st.UIDs[0], cause)
}

// awaitAll waits until every attached thread is stopped.
func (f *freezer) awaitAll(deadline time.Time) error {
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		var late *Thread
		for _, t := range f.held {
			if t.stopped {
				continue
			}
			if err := f.poll(t); err != nil {
				return err
			}
			if f.held[t.TID] == t && !t.stopped {
				late = t
			}
		}
		if late == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return late.stuck()
		}
		Nap(pause)
	}
}

// poll takes what a thread has to report until it has nothing more to say or
// is stopped at a place where it can be held.
func (f *freezer) poll(t *Thread) error {
	for {
		st, err := waitStop(t.TID, true)
		if err != nil {
			return err
		}
		switch st.kind {
		case stopNone:
			return nil
		case stopGone:
			f.drop(t)
			return nil
		case stopTrap, stopGroup:
			if settled, err := t.settle(st); settled || err != nil {
				return err
			}
			continue
		}
		if err := t.pass(st); err != nil {
			return err
		}
	}
}

// settle keeps a thread stopped, unless it is in the vDSO: then it runs on. One
// that has been killed has a death to report instead.
func (t *Thread) settle(st stop) (settled bool, err error) {
	var regs Regs
	if err := ptraceGetRegs(t.TID, &regs); err != nil {
		return false, ignoreGone(goneErr("get registers of", t.TID, err))
	}
	inside, err := t.insideVDSO(&regs)
	if err != nil {
		return false, ignoreGone(err)
	}
	if inside {
		return false, t.leaveVDSO()
	}
	t.stopped = true
	if st.kind == stopGroup {
		t.group = st.signal
	}
	return true, t.hideStop(regs)
}

// pass lets a thread run on from a stop in which it cannot be held: inside a
// system call (a fork), or with a signal in hand, which it gets. The stop has
// used up the earlier PTRACE_INTERRUPT, so there is another.
func (t *Thread) pass(st stop) error {
	var sig syscall.Signal
	if st.kind == stopSignal {
		sig = st.signal
	}
	err := errors.Join(ptraceInterrupt(t.TID), ptraceCont(t.TID, sig))
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return goneErr("resume", t.TID, err)
	}
	return nil
}

// drop forgets a thread that has died.
func (f *freezer) drop(t *Thread) {
	delete(f.held, t.TID)
	p := t.Proc
	p.Threads = slices.DeleteFunc(p.Threads, func(o *Thread) bool { return o == t })
}

// tree reads the state of all held threads and orders the processes. A
// process whose parent died during the freeze, and which is a descendant no
// more, comes last.
func (f *freezer) tree() (*Tree, error) {
	tree := &Tree{Zombies: f.zombies}
	for _, p := range f.procs {
		if !slices.Contains(f.order, p) {
			f.order = append(f.order, p)
		}
	}
	for _, p := range f.order {
		if len(p.Threads) == 0 {
			continue
		}
		if err := p.hold(); err != nil {
			return nil, err
		}
		tree.Procs = append(tree.Procs, p)
	}
	return tree, nil
}

func (p *Process) hold() error {
	slices.SortStableFunc(p.Threads, func(a, b *Thread) int {
		if a.TID == TID(p.PID) {
			return -1
		}
		if b.TID == TID(p.PID) {
			return 1
		}
		return 0
	})
	p.PID = PID(p.Leader().TID)
	for _, t := range p.Threads {
		if err := t.hold(); err != nil {
			return err
		}
		if t.group != 0 {
			p.Stopped = t.group
		}
	}
	var err error
	if p.Shared, err = peekAll(TID(p.PID), true); err != nil {
		return err
	}
	return p.ids()
}

// ids finds out what the process calls itself in its own pid namespace.
func (p *Process) ids() error {
	if own, err := sameNamespace(p.PID); err != nil || own {
		for _, t := range p.Threads {
			t.ID = p.Aliases.Own(ID(t.TID))
		}
		p.ID = p.Aliases.Own(ID(p.TGID))
		return err
	}
	var st procfs.Status
	for _, t := range p.Threads {
		var err error
		if st, err = procfs.ReadTaskStatus(int(p.PID), int(t.TID)); err != nil {
			return goneErr("read status of", t.TID, err)
		}
		t.ID = p.Aliases.Own(ID(st.NSpid[len(st.NSpid)-1]))
	}
	p.ID = p.Aliases.Own(ID(st.NStgid[len(st.NStgid)-1]))
	return nil
}

func sameNamespace(pid PID) (bool, error) {
	theirs, err := procfs.Namespace(int(pid), "pid")
	if err != nil {
		return false, goneErr("read pid namespace of", TID(pid), err)
	}
	ours, err := procfs.OwnNamespace("pid")
	return theirs == ours, err
}

// letGo detaches whatever the attempt has attached. A thread that has not
// stopped yet cannot be detached: it is waited for a little while the rest
// runs. One that still has not stopped then stays attached, running; the next
// attempt meets it as ours, and the end of the tracer's OS thread detaches it.
func (f *freezer) letGo() {
	var late []*Thread
	for _, t := range f.held {
		if !t.stopped {
			late = append(late, t)
			continue
		}
		_ = ptraceDetach(t.TID, 0) // it may have died
	}
	for end := time.Now().Add(pauseTime); len(late) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		late = slices.DeleteFunc(late, func(t *Thread) bool {
			if err := f.poll(t); err != nil {
				return true
			}
			return t.stopped && ptraceDetach(t.TID, 0) == nil || f.held[t.TID] == nil
		})
	}
}
