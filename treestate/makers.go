package treestate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
)

// errMaker is what Makers says of a tree that no way of making leads to.
var errMaker = errors.New("shares with others in a way that no order of making leads to")

// SharingError names a process or thread whose sharing cannot be made again.
type SharingError struct {
	ID  task.ID
	Err error
}

func (e *SharingError) Error() string { return fmt.Sprintf("task %d %v", e.ID, e.Err) }
func (e *SharingError) Unwrap() error { return e.Err }

// Origin says how a process comes to be at a restart.
type Origin struct {
	ID    task.ID
	Maker task.ID // who makes it; 0: the builder
	Way   Way
	Flags uint64 // of clone(2): what it has in common with its maker then
	Sheds uint64 // what its maker gives up before it makes it
	Last  uint64 // what it gives up itself when it has made all
	Fresh bool   // it, or one that it comes of, has executed a program to give up its memory
}

// Way is how a process becomes a child of its parent.
type Way int

// The ways.
const (
	Child   Way = iota // its maker is its parent
	Sibling            // CLONE_PARENT: its maker is a child of its parent
	Orphan             // its maker makes one that makes it and ends: its parent is the next subreaper
)

// Makers tells how each process is made at a restart, in an order in which the
// maker comes before what it makes. What processes share, only one that has it
// can give (man 2 clone). So it is handed down from one that has it to all that
// are to have it, also through those that are not: these give it up as
// the program must have done, files and directories by unshare(2), memory and signal handlers by
// execve(2), once they have made all that needs it.
//
// Where the parent does not have it, a sibling may, and makes the process with
// CLONE_PARENT, which gives it its own exit signal; or somebody below the parent
// makes it through one that ends, which makes SIGCHLD its exit signal (Linux
// kernel/exit.c:reparent_leader, v6.12).
//
// A process is also born in a session that it cannot enter later. Where its parent was never in it,
// the leader makes it through one that ends: its parent has adopted it. The dead make nothing, but zombies are
// made alive, and may be leaders.
//
// What these ways do not reach:
//   - A process below one that can hold one thing at a time has two of the same kind from above it, say the
//     memory of one ancestor and a child with that of another. clone(2) does not come to it either, but for orphans
//     that have climbed up several subreapers one after the other.
//   - Children of one parent share two kinds crosswise, and no two have the same exit signal: A and B have descriptors
//     together, A and C directories, C and D other descriptors, B and D other directories.
//   - Somebody would have to execute a program and keep an exit signal other than SIGCHLD, which execve(2) sets.
//   - Processes of a session whose leader has died get their things from one that does the leader's part for a
//     moment. So all that one maker has of them must find what they share with it at one time.
func Makers(procs []*taskstate.Process, zombies []taskstate.Zombie) ([]Origin, error) {
	for i := range zombies {
		z := &zombies[i]
		procs = append(procs, &taskstate.Process{ID: z.ID, Parent: z.Parent, Session: z.Session, ExitSignal: z.ExitSignal})
	}
	var first error
	var fallback []Origin
	for _, w := range []ways{parentOrSibling, orAbove, parentOnly} {
		p := newPlan(procs, w)
		if err := p.make(); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		if !p.executes {
			return p.result(), nil
		}
		if fallback == nil {
			fallback = p.result()
		}
	}
	if fallback != nil {
		return fallback, nil
	}
	return nil, first
}

// Makers tells how each of the processes is made.
func (t *Tree) Makers() ([]Origin, error) {
	procs := make([]*taskstate.Process, len(t.Processes))
	for i := range t.Processes {
		procs[i] = &t.Processes[i].Process
	}
	return Makers(procs, t.Zombies)
}

// ways chooses for a process who makes it, and how.
type ways func(p *plan, i int) (maker int, way Way)

func parentOnly(p *plan, i int) (int, Way) { return p.parent(i), Child }

// parentOrSibling prefers one that keeps what it gives.
func parentOrSibling(p *plan, i int) (int, Way) {
	parent, rec := p.parent(i), p.procs[i]
	if rec.Shares == (taskstate.Sharing{}) || parent != builder && gives(p.procs[parent], rec) {
		return parent, Child
	}
	for s, other := range p.procs[:i] {
		if other.Parent == rec.Parent && other.ExitSignal == rec.ExitSignal && gives(other, rec) && p.meet(i, s) {
			return s, Sibling
		}
	}
	return parent, Child
}

// orAbove is parentOrSibling, and after that asks those below the parent.
func orAbove(p *plan, i int) (int, Way) {
	maker, way := parentOrSibling(p, i)
	rec := p.procs[i]
	if way != Child || rec.ExitSignal != int(unix.SIGCHLD) || rec.Shares == (taskstate.Sharing{}) || maker != builder && gives(p.procs[maker], rec) {
		return maker, way
	}
	for m, other := range p.procs {
		if m != i && gives(other, rec) && p.meet(i, m) && p.below(m, maker) && !p.below(m, i) {
			return m, Orphan
		}
	}
	return maker, way
}

// through asks the leader of a session for what the parent cannot make.
func (p *plan) through(i, parent int) (maker int, ok bool) {
	rec, leader := p.procs[i], p.find(p.procs[i].Session)
	if leader == builder || leader == i || rec.ExitSignal != int(unix.SIGCHLD) || parent != builder && p.meet(i, parent) {
		return 0, false
	}
	return leader, p.below(leader, parent) && !p.below(leader, i)
}

// below tells whether a process descends from another.
func (p *plan) below(i, ancestor int) bool {
	for i = p.parent(i); i != builder; i = p.parent(i) {
		if i == ancestor {
			return true
		}
	}
	return ancestor == builder
}

// meet tells whether maker, not the parent of process i, is at some time in the
// session that i is to be in.
func (p *plan) meet(i, maker int) bool {
	rec, m, parent := p.procs[i], p.procs[maker], p.parent(maker)
	begins := m.Session == m.ID && parent != builder && p.procs[parent].Session == rec.Session
	return rec.Session == rec.ID || rec.Session == m.Session || begins
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
