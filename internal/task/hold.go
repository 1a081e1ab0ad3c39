package task

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// TraceCall is the number of ptrace(2).
const TraceCall = unix.SYS_PTRACE

// Hold holds a single thread, while the others of its process run. The caller is
// on the tracer's OS thread.
func Hold(pid PID, tid TID, patience time.Duration) (*Process, error) {
	p := &Process{PID: pid, TGID: pid, options: traceNew}
	f := freezer{held: map[TID]*Thread{}, procs: map[PID]*Process{pid: p}}
	err := f.seize(p, tid)
	if err == nil {
		err = f.awaitAll(time.Now().Add(patience))
	}
	if err == nil && len(p.Threads) == 0 {
		err = fmt.Errorf("hold task %d: %w", tid, ErrGone)
	}
	if err == nil {
		err = p.hold()
	}
	if err != nil {
		f.letGo()
		return nil, err
	}
	return p, nil
}

// RunHeld maps the parasite into a process that Hold has given, runs a batch, and
// takes it out again.
func (p *Process) RunHeld(b *Batch) error {
	vmas, err := procfs.ReadMaps(int(p.PID))
	if err == nil {
		vmas, err = p.CutLeftovers(vmas)
	}
	if err == nil {
		err = p.Infect(vmas)
	}
	if err != nil {
		return err
	}
	if err := p.Run(b); err != nil {
		_ = p.Cure()
		return err
	}
	return p.Cure()
}

// Waits tells whether the thread is stopped in the system call nr, which has not
// been made yet, with these arguments.
func (t *Thread) Waits(nr uint64, args [6]uint64) bool {
	r := &t.Regs
	return r.Orig_rax == nr && r.interrupted() != 0 && args == [6]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
}

// Return has the call in which the thread waits return.
func (t *Thread) Return(value int64) {
	t.Regs.Rax = uint64(value)
	t.Regs.Orig_rax = ^uint64(0) // nothing to be made once more
}
