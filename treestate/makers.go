package treestate

import (
	"errors"
	"fmt"
	"slices"

	"supervise/internal/task"
	"supervise/taskstate"
)

// errMaker is what Makers says of a tree that no clone can make.
var errMaker = errors.New("shares with processes that are neither its parent nor, in the same session, its siblings")

// errThreadMaker is what ThreadMakers says of such a thread.
var errThreadMaker = errors.New("shares things with threads that no thread has together")

// SharingError names a process or thread whose sharing cannot be made again.
type SharingError struct {
	ID  task.ID
	Err error
}

func (e *SharingError) Error() string { return fmt.Sprintf("task %d %v", e.ID, e.Err) }
func (e *SharingError) Unwrap() error { return e.Err }

// Makers tells for each process who makes it at a restart: the id of its
// parent (0: outside), or of an earlier sibling that makes it with
// CLONE_PARENT. What processes share, only the one that has it can give, so a
// process is made by one that has all that it shares (man 2 clone).
func Makers(procs []*taskstate.Process) ([]task.ID, error) {
	byID := map[task.ID]*taskstate.Process{}
	makers := make([]task.ID, len(procs))
	for i, p := range procs {
		byID[p.ID] = p
		maker, ok := findMaker(p, byID[p.Parent], procs[:i])
		if !ok {
			return nil, &SharingError{p.ID, errMaker}
		}
		makers[i] = maker
	}
	return makers, nil
}

// Makers tells who makes each of the processes.
func (t *Tree) Makers() ([]task.ID, error) {
	procs := make([]*taskstate.Process, len(t.Processes))
	for i := range t.Processes {
		procs[i] = &t.Processes[i].Process
	}
	return Makers(procs)
}

func findMaker(p, parent *taskstate.Process, earlier []*taskstate.Process) (task.ID, bool) {
	if p.Shares == (taskstate.Sharing{}) || parent != nil && gives(parent, p) {
		return p.Parent, true
	}
	for _, s := range earlier {
		// The kernel gives a sibling the maker's exit signal.
		if s.Parent == p.Parent && s.ExitSignal == p.ExitSignal && gives(s, p) && meet(p, s, parent) {
			return s.ID, true
		}
	}
	return 0, false
}

// meet tells whether maker, a sibling of p, is at some time in the session
// that p is to be in.
func meet(p, maker, parent *taskstate.Process) bool {
	begins := maker.Session == maker.ID && parent != nil && parent.Session == p.Session
	return p.Session == p.ID || p.Session == maker.Session || begins
}

// gives tells whether maker has all that p shares.
func gives(maker, p *taskstate.Process) bool {
	for _, sh := range taskstate.Shareable {
		want, has := *sh.Of(&p.Shares), *sh.Of(&maker.Shares)
		if want != 0 && want != has && want != maker.ID {
			return false
		}
	}
	return true
}

// ThreadMakers tells for each thread of a process but the first, by index,
// which of the earlier ones makes it: one that has all that it shares.
func ThreadMakers(threads []taskstate.Thread) ([]int, error) {
	makers := make([]int, len(threads))
	if threads[0].Left != (taskstate.Sharing{}) {
		return nil, &SharingError{threads[0].ID, errThreadMaker}
	}
	for i := range threads[1:] {
		th := &threads[i+1]
		makers[i+1] = slices.IndexFunc(threads[:i+1], func(m taskstate.Thread) bool { return givesThread(&m, th) })
		if makers[i+1] < 0 {
			return nil, &SharingError{th.ID, errThreadMaker}
		}
	}
	return makers, nil
}

// givesThread tells whether maker has all that th does not have for itself.
func givesThread(maker, th *taskstate.Thread) bool {
	for _, sh := range taskstate.Shareable {
		want := *sh.Of(&th.Left)
		if want != th.ID && want != *sh.Of(&maker.Left) || want != 0 && sh.Flag&taskstate.Leavable == 0 {
			return false
		}
	}
	return true
}
