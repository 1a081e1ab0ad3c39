package treestate

import (
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
)

// builder stands for the index of the builder, who makes the first.
const builder = -1

// kinds is how many kinds of things processes share.
const kinds = 4

// memory, files and handlers are the places of three of them in taskstate.Shareable.
const memory, files, handlers = 0, 1, 3

// things are one of each kind of taskstate.Shareable: each by the id of the first
// process that is to have it, or 0 for one that has no such name yet.
type things [kinds]task.ID

// plan is one attempt at an order of making.
type plan struct {
	procs   []*taskstate.Process
	index   map[task.ID]int
	makes   map[int][]int // by maker
	origins []Origin
	born    []things // what each must have as it is made, since others outside have it
	total   [kinds]map[task.ID]int
	within  []map[task.ID][kinds]int // how many below each, and itself, have a thing

	order    []int
	executes bool // somebody executes a program
}

func newPlan(procs []*taskstate.Process, choose ways) *plan {
	p := &plan{procs: procs, index: map[task.ID]int{}, makes: map[int][]int{}, origins: make([]Origin, len(procs)),
		born: make([]things, len(procs)), within: make([]map[task.ID][kinds]int, len(procs))}
	for i, rec := range procs {
		p.index[rec.ID] = i
	}
	for i, rec := range procs {
		maker, way := choose(p, i)
		if leader, ok := p.through(i, maker); ok && way == Child {
			maker, way = leader, Orphan
		}
		p.origins[i] = Origin{ID: rec.ID, Way: way}
		if maker != builder {
			p.origins[i].Maker = procs[maker].ID
		}
		p.makes[maker] = append(p.makes[maker], i)
	}
	return p
}

// parent is the index of a process's parent.
func (p *plan) parent(i int) int { return p.find(p.procs[i].Parent) }
func (p *plan) maker(i int) int  { return p.find(p.origins[i].Maker) }

func (p *plan) find(id task.ID) int {
	if i, ok := p.index[id]; ok {
		return i
	}
	return builder
}

// final is what a process is to have in the end.
func (p *plan) final(i int) (t things) {
	for k, sh := range taskstate.Shareable {
		if t[k] = *sh.Of(&p.procs[i].Shares); t[k] == 0 {
			t[k] = p.procs[i].ID
		}
	}
	return t
}

// make fills in the origins.
func (p *plan) make() error {
	if err := p.handDown(); err != nil {
		return err
	}
	if err := p.grow(builder, 0, false); err != nil {
		return err
	}
	for i, rec := range p.procs {
		if !slices.Contains(p.order, i) {
			return &SharingError{rec.ID, errMaker} // its makers make one another
		}
	}
	return nil
}

// handDown finds what each process must be born with: what both one that comes
// of it and one that does not are to have.
func (p *plan) handDown() error {
	for k := range kinds {
		p.total[k] = map[task.ID]int{}
	}
	for i := range p.procs {
		for k, thing := range p.final(i) {
			p.total[k][thing]++
		}
	}
	for i, rec := range p.procs {
		if rec.Shares == (taskstate.Sharing{}) && !p.sharedByOthers(i) {
			continue
		}
		final, steps := p.final(i), 0
		for at := i; at != builder; at = p.maker(at) {
			if steps++; steps > len(p.procs) {
				return &SharingError{rec.ID, errMaker} // its makers make one another
			}
			p.count(at, final)
		}
	}
	for i := range p.procs {
		for thing, n := range p.within[i] {
			for k := range kinds {
				if n[k] == 0 || n[k] == p.total[k][thing] {
					continue
				}
				if p.born[i][k] != 0 {
					return &SharingError{p.procs[i].ID, errMaker} // two of a kind
				}
				p.born[i][k] = thing
			}
		}
		if p.born[i][handlers] != 0 && p.born[i][memory] == 0 {
			return &SharingError{p.procs[i].ID, errMaker} // not without memory (man 2 clone)
		}
	}
	return nil
}

// sharedByOthers tells whether process i is the first of several that have a thing.
func (p *plan) sharedByOthers(i int) bool {
	for k := range kinds {
		if p.total[k][p.procs[i].ID] > 1 {
			return true
		}
	}
	return false
}

func (p *plan) count(at int, final things) {
	if p.within[at] == nil {
		p.within[at] = map[task.ID][kinds]int{}
	}
	for k, thing := range final {
		n := p.within[at][thing]
		n[k]++
		p.within[at][thing] = n
	}
}

// result are the origins in the order of making.
func (p *plan) result() []Origin {
	var all []Origin
	for _, i := range p.order {
		all = append(all, p.origins[i])
	}
	return all
}

// grow has maker, which was born in a session, make what it makes, in the order
// of the skeleton: in the session of its birth, in its own, and in those whose
// leaders have died.
func (p *plan) grow(maker int, session task.ID, fresh bool) error {
	m := newMaker(p, maker, fresh)
	for _, i := range p.makes[maker] {
		m.add(i, session)
	}
	if err := m.makeAll(); err != nil {
		return err
	}
	for _, i := range m.made {
		o := &p.origins[i]
		own := p.procs[i].Session
		if own == o.ID && maker != builder && m.phase[i] == early {
			own = session
		} else if own == o.ID && maker != builder {
			own = p.procs[maker].Session
		}
		if err := p.grow(i, own, o.Fresh); err != nil {
			return err
		}
	}
	return nil
}

// unshared are the kinds that unshare(2) gives up; execve(2) gives up all others
// and the descriptor table (Linux fs/exec.c:begin_new_exec, v6.12).
func unshared(flag uint64) bool { return flag == unix.CLONE_FILES || flag == unix.CLONE_FS }

// executed are the flags that are given up together by execve(2).
const executed = unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_FILES

// given is what is given up so that those in flags are.
func given(flags uint64) uint64 {
	if flags&(unix.CLONE_VM|unix.CLONE_SIGHAND) != 0 {
		flags |= executed
	}
	return flags
}
