package taskstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// capture is one process being captured. Parts read what can be seen from
// outside at once, and ask for the rest in a batch that runs in the leader.
type capture struct {
	held   *task.Process
	stat   procfs.Stat
	status procfs.Status
	batch  *task.Batch
	later  []func() // what to do with the batch's results
	rec    *Process
}

// restore is one process being restored: memory and descriptors are in place.
// Parts put what they can into a batch that runs in the leader.
type restore struct {
	held  *task.Process
	rec   *Process
	batch task.Batch
}

// flush runs what is in the batch, for a part that cannot wait.
func (r *restore) flush() error {
	b := r.batch
	r.batch = task.Batch{}
	return r.held.Run(&b)
}

// Base is what a bare process has before its own state is restored.
type Base struct {
	Creds Creds
	CPUs  unix.CPUSet // where it may run, once it is restored
}

// part is one kind of a process's state.
type part struct {
	name    string
	capture func(*capture) error
	restore func(*restore) error
}

// processParts are restored in this order, by the leader, after all threads exist.
var processParts = []part{
	{"command line", captureCommand, nil}, // it is in the memory
	{"directories", captureFS, restoreFS}, // before attributes: finding them may need privilege
	{"attributes", captureAttributes, restoreAttributes},
	{"limits", captureLimits, restoreLimits},                // before creds: raising may need privilege
	{"signal actions", captureActions, restoreActions},      // before timers, which would kill otherwise
	{"interval timers", captureIntervals, restoreIntervals}, // time runs from here
	{"posix timers", capturePosixTimers, restorePosixTimers},
	{"pending signals", capturePending, restorePending}, // after timers: theirs come from the queue
}

// threadParts are restored in this order, by the thread itself.
var threadParts = []struct {
	name    string
	capture func(*threadCapture) error
	restore func(*threadRestore) error
}{
	{"name", captureName, restoreName},
	{"directories", captureThreadFS, restoreThreadFS},
	{"schedule", captureSchedule, restoreSchedule},
	{"altstack", captureAltStack, restoreAltStack},
	{"futexes", captureFutexes, restoreFutexes}, // after memory: rseq is written to
	{"pending signals", captureThreadPending, restoreThreadPending},
	{"personality", capturePersonality, restorePersonality},
	{"syscall user dispatch", captureDispatch, restoreDispatch},
	{"speculation", captureSpeculation, restoreSpeculation},
	{"i/o flusher", captureIOFlusher, restoreIOFlusher},
	{"seccomp", captureSeccomp, restoreSeccomp},
	{"security module", probeLandlock, nil},                    // refused
	{"creds", captureCreds, restoreCreds},                      // nothing below needs privilege
	{"parent's death", captureDeathSignal, restoreDeathSignal}, // after creds, which clear it
	{"registers", captureRegisters, restoreRegisters},
}

// Facts are what a snapshot needs of status and stat files under /proc.
type Facts struct {
	Stat    procfs.Stat
	Status  procfs.Status
	Threads []procfs.Status // of a held process, in its order; the first is Status
	Left    []Sharing       // as Threads: what they have left (Thread.Left)
	Ours    *procfs.Status  // of this supervisor

	NoIoUring bool   // it descends from a process with the filter of run --no-io-uring
	Virtual   []byte // and with this one, of run --virtualize, or nil; it is the oldest
}

// ReadFacts reads a process's stat and status files.
func ReadFacts(pid task.PID) (Facts, error) {
	stat, err := procfs.ReadStat(int(pid))
	if err != nil {
		return Facts{}, gone(pid, err)
	}
	status, err := procfs.ReadStatus(int(pid))
	if err != nil {
		return Facts{}, gone(pid, err)
	}
	return Facts{Stat: stat, Status: status}, nil
}

// ReadAllFacts reads those of a held process and its threads.
func ReadAllFacts(held *task.Process, ours *procfs.Status) (Facts, error) {
	f, err := ReadFacts(held.PID)
	if err != nil {
		return f, err
	}
	f.Ours, f.Threads, f.Left = ours, []procfs.Status{f.Status}, make([]Sharing, len(held.Threads))
	for _, t := range held.Threads[1:] {
		st, err := procfs.ReadTaskStatus(int(held.PID), int(t.TID))
		if err != nil {
			return f, gone(held.PID, err)
		}
		f.Threads = append(f.Threads, st)
	}
	return f, nil
}

func gone(pid task.PID, err error) error {
	if procfs.Gone(err) {
		return fmt.Errorf("read state of pid %d: %w", pid, task.ErrGone)
	}
	return err
}

// Capture reads the state of a held and infected process. Batch b may hold
// what else is to be asked of its leader: each run has its price, so that all
// that a leader is asked goes into one.
func Capture(held *task.Process, facts Facts, b *task.Batch) (Process, error) {
	rec := IDs(held, facts) // restored by the skeleton
	c := &capture{held: held, stat: facts.Stat, status: facts.Status, batch: b, rec: &rec}
	for _, p := range processParts {
		if err := p.capture(c); err != nil {
			return rec, fmt.Errorf("capture %s of pid %d: %w", p.name, held.PID, err)
		}
	}
	if err := rec.addExitedLeader(held); err != nil {
		return rec, err
	}
	for i, t := range held.Threads {
		th, err := captureThread(&threadCapture{held: t, status: facts.Threads[i], left: facts.Left[i], facts: &facts, batch: b, proc: &rec})
		if err != nil {
			return rec, fmt.Errorf("capture thread %d of pid %d: %w", t.TID, held.PID, err)
		}
		rec.Threads = append(rec.Threads, th)
		b = &task.Batch{}
	}
	for _, fn := range c.later {
		fn()
	}
	return rec, nil
}

// threadCapture is one thread being captured.
type threadCapture struct {
	held   *task.Thread
	status procfs.Status
	left   Sharing
	facts  *Facts
	batch  *task.Batch
	later  []func()
	proc   *Process
	rec    *Thread
}

func captureThread(c *threadCapture) (Thread, error) {
	rec := Thread{ID: c.held.ID, Left: c.left}
	c.rec = &rec
	for _, p := range threadParts {
		if p.capture == nil {
			continue
		}
		if err := p.capture(c); err != nil {
			return rec, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if err := c.held.Run(c.batch); err != nil {
		return rec, err
	}
	for _, fn := range c.later {
		fn()
	}
	return rec, nil
}

// threadRestore is one thread being restored.
type threadRestore struct {
	held  *task.Thread
	proc  *Process
	rec   *Thread
	base  *Base
	batch *task.Batch
}

// Restore gives a bare process its state. All threads exist; memory and
// descriptors are in place. Nothing runs yet.
func (rec *Process) Restore(held *task.Process, base *Base) error {
	r := &restore{held: held, rec: rec}
	held.AvoidSignals(rec.pendingSet() | rec.timerSignals())
	for _, p := range processParts {
		if p.restore == nil {
			continue
		}
		if err := p.restore(r); err != nil {
			return fmt.Errorf("restore %s of pid %d: %w", p.name, rec.ID, err)
		}
	}
	living := rec.Threads[len(rec.Threads)-len(held.Threads):]
	b := &r.batch
	var dumpable *task.Call
	for i, t := range held.Threads {
		th := &threadRestore{held: t, proc: rec, rec: &living[i], base: base, batch: b}
		err := th.queue()
		if i == len(held.Threads)-1 {
			dumpable = b.Add(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE)
		}
		if err == nil {
			err = th.run()
		}
		if err != nil {
			return fmt.Errorf("restore thread %d of pid %d: %w", living[i].ID, rec.ID, err)
		}
		b = &task.Batch{}
	}
	return errors.Join(rec.restoreSignalLimit(held), rec.restoreDumpable(held, int(dumpable.Ret)))
}

// queue restores what can be restored from outside, and puts the rest into
// the batch.
func (r *threadRestore) queue() error {
	for _, p := range threadParts[:len(threadParts)-1] {
		if p.restore == nil {
			continue
		}
		if err := p.restore(r); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// run runs the batch. Registers come last.
func (r *threadRestore) run() error {
	if err := r.held.Run(r.batch); err != nil {
		return err
	}
	return threadParts[len(threadParts)-1].restore(r)
}
