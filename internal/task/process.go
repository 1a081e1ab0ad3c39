package task

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// Process is a held process: all of its threads are held.
type Process struct {
	// PID is the process's id, by which files under /proc and calls reach it.
	// When its first thread has exited while others run, nothing of the
	// process is left there: then PID is the tid of its oldest living thread,
	// which both take as well, and TGID has the id.
	PID  PID
	TGID PID

	ID      ID
	Threads []*Thread // the leader first, then by age
	Shared  []Siginfo // signals sent to the process as a whole, oldest first

	// Stopped is the job-control signal that the process was stopped by
	// before it was held, or 0.
	Stopped syscall.Signal

	// Aliases of the tree's ids: of the arguments of type ID of calls, too.
	Aliases *Aliases

	space      *space // one for all processes that share an address space
	stopSignal unix.Signal
	options    int          // of ptrace(2)
	leftovers  []procfs.VMA // parasites of killed supervisors
	attached   []procfs.VMA // what they had attached behind them
	vdso       *place       // where the vDSO is, once a thread's place was compared with it
}

// Leader is the thread whose id is the process's, or where it has exited the
// oldest that lives.
func (p *Process) Leader() *Thread { return p.Threads[0] }

// Run runs the calls of b in the leader.
func (p *Process) Run(b *Batch) error { return p.Leader().Run(b) }

// Call runs one system call in the leader.
func (p *Process) Call(nr uintptr, args ...any) (int64, error) {
	return p.Leader().Call(nr, args...)
}

// Identify tells a process that Start has made what it calls itself in its
// own pid namespace.
func (p *Process) Identify(id ID) { p.ID, p.Leader().ID = id, id }

// TakeNew returns the tasks that threads of p cloned or forked since the last
// call, in that order, each held at its first stop. They share p's parasite
// or hold a copy of it.
func (p *Process) TakeNew() ([]TID, error) {
	var all []TID
	for _, t := range p.Threads {
		for _, tid := range t.newTasks {
			if err := awaitFirstStop(tid); err != nil {
				return nil, err
			}
			all = append(all, tid)
		}
		t.newTasks = nil
	}
	return all, nil
}

// awaitFirstStop waits for the stop with which a traced child begins.
func awaitFirstStop(tid TID) error {
	st, err := waitStop(tid, false)
	if err != nil {
		return err
	}
	if st.kind == stopGone {
		return fmt.Errorf("new task %d: %w", tid, ErrGone)
	}
	return nil
}

// AdoptProcess makes a held process of a child that parent cloned. id is what
// clone returned to the parent; sameMemory says that it was with CLONE_VM.
func AdoptProcess(parent *Process, tid TID, id ID, sameMemory bool) (*Process, error) {
	space := parent.space
	if !sameMemory {
		own := *parent.space
		space = &own
	}
	p := &Process{PID: PID(tid), TGID: PID(tid), ID: id, Aliases: parent.Aliases, space: space, stopSignal: parent.stopSignal, options: parent.options}
	_, err := p.AdoptThread(tid, id)
	return p, err
}

// AdoptThread adds a held thread that p cloned.
func (p *Process) AdoptThread(tid TID, id ID) (*Thread, error) {
	t := &Thread{TID: tid, ID: id, Proc: p, stopped: true}
	p.Aliases.add(id, ID(tid))
	if err := ptraceGetRegs(tid, &t.Regs); err != nil {
		return nil, goneErr("get registers of", tid, err)
	}
	mask, err := ptraceGetSigmask(tid)
	if err != nil {
		return nil, goneErr("get signal mask of", tid, err)
	}
	t.Mask = mask
	p.Threads = append(p.Threads, t)
	return t, nil
}

// AvoidSignals keeps the parasite from using one of the given set of signals
// to stop itself: they are about to be queued in the process.
func (p *Process) AvoidSignals(pending uint64) {
	p.stopSignal = harmlessSignal(pending)
}

// FindRoom tells what is mapped where by now, so that Cure finds room for
// bootstrap code.
func (p *Process) FindRoom(vmas []procfs.VMA) error {
	slack, err := p.findSlack(vmas)
	if err != nil {
		return err
	}
	p.space.slack = slack
	return nil
}

// InitName is the name of the init of a namespace that a restart made. A tree
// below such a process may be captured again.
const InitName = "supervise-init"

// BecomeInit makes the process's only thread the init of its pid namespace
// when it is released: it reaps until no child is left, and writes the wait
// status of root to statusFD.
func (p *Process) BecomeInit(root ID, statusFD int) {
	t := p.Leader()
	t.Regs = initLoopRegs(t.Regs, p.space.code+initLoopStartOffset, p.space.table(), int(root), statusFD)
	t.Mask = 0
}

// Release lets every thread go on and forgets the process.
func (p *Process) Release() error {
	var first error
	for _, t := range p.Threads {
		if err := t.detach(); err != nil && first == nil {
			first = goneErr("detach", t.TID, err)
		}
	}
	for _, t := range p.Threads {
		t.resend()
	}
	return first
}

// KeepOnExit takes back that the tracees die with their tracer.
func (p *Process) KeepOnExit() error {
	for _, t := range p.Threads {
		if err := ptraceSetOptions(t.TID, 0); err != nil {
			return goneErr("set options of", t.TID, err)
		}
	}
	return nil
}

// StopGroup puts the process into a job-control stop, in which it stays after
// Release. Calls can still be run in it.
func (p *Process) StopGroup() error {
	leader := p.Leader()
	if err := unix.Tgkill(int(p.TGID), int(leader.TID), unix.SIGSTOP); err != nil {
		return goneErr("stop", leader.TID, err)
	}
	if err := leader.resumeToStop(0); err != nil { // about to take the signal
		return err
	}
	if err := leader.resumeToStop(unix.SIGSTOP); err != nil { // took it
		return err
	}
	for _, t := range p.Threads[1:] { // the stop is complete when all have joined it
		if err := t.resumeToStop(0); err != nil {
			return err
		}
	}
	return nil
}

// resumeToStop delivers a signal, if it is not 0, and waits for the next stop.
func (t *Thread) resumeToStop(sig syscall.Signal) error {
	if err := ptraceCont(t.TID, sig); err != nil {
		return goneErr("stop", t.TID, err)
	}
	st, err := t.wait()
	if err == nil && st.kind == stopGone {
		err = fmt.Errorf("stop task %d: %w", t.TID, ErrGone)
	}
	return err
}

// Pidfd opens a pidfd of the process, for pidfd_getfd(2). Where the leader has
// exited it has no descriptors any more, and PID names another thread.
func (p *Process) Pidfd() (int, error) {
	flags := 0
	if p.PID != PID(p.TGID) {
		flags = unix.PIDFD_THREAD // since Linux 6.9
	}
	fd, err := unix.PidfdOpen(int(p.PID), flags)
	if err != nil {
		return -1, goneErr("pidfd_open", TID(p.PID), err)
	}
	return fd, nil
}

// Kill ends the process.
func (p *Process) Kill() error {
	return unix.Kill(int(p.TGID), unix.SIGKILL)
}

// Alive tells whether the process exists and has not become a zombie.
func (pid PID) Alive() bool {
	st, err := procfs.ReadStat(int(pid))
	return err == nil && !st.Dead()
}

// Settle puts the final registers and masks of all threads into place.
func (p *Process) Settle() error {
	for _, t := range p.Threads {
		if err := t.giveBack(); err != nil {
			return err
		}
		if t.Dispatch.Mode == 0 {
			continue
		}
		if err := ptraceDispatch(ptraceSetUserDispatch, t.TID, &t.Dispatch); err != nil {
			return goneErr("set syscall user dispatch of", t.TID, err)
		}
	}
	return nil
}
