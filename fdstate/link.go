package fdstate

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// linker is a record that refers to descriptors of processes.
type linker interface {
	// procs are the processes in which there is something to link. first is
	// the first that has the file.
	procs(first int) []int

	// Link queues the calls to be made in process i.
	Link(o *Opener, i, file int)
}

// findLinks lists for each process the files that it links.
func (r *Restorer) findLinks() {
	r.links, r.holders = make([][]int, len(r.state.Tables)), make([]*task.Process, len(r.state.Tables))
	for file := range r.state.Files {
		var procs []int
		first := r.firstProc(file)
		if first < 0 {
			continue
		}
		if rec, ok := r.records[file].(linker); ok {
			procs = rec.procs(first)
		}
		if first == noProcess {
			procs = nil // a file in flight has nothing to link
		}
		for _, i := range procs {
			r.links[i] = append(r.links[i], file)
		}
	}
}

// Link makes, in process i, what refers to descriptors or processes. All
// processes must exist and have their tables.
func (r *Restorer) Link(i int, p *task.Process) error {
	o := r.opener(p)
	r.holders[i] = p
	if err := r.openLate(o, i); err != nil {
		return err
	}
	for _, file := range r.links[i] {
		mark := len(o.then)
		f := &r.state.Files[file]
		r.records[file].(linker).Link(o, i, file)
		o.wrap(mark, func(err error) error { return fmt.Errorf("restore %s: %w", f.Link, err) })
	}
	return o.Run()
}

// openLate opens the descriptions of kinds that name processes.
func (r *Restorer) openLate(o *Opener, i int) error {
	if !slices.ContainsFunc(r.state.Tables[i], func(fd FD) bool { return r.late(fd.File) }) {
		return nil
	}
	open, err := procfs.FDs(int(o.Proc.PID))
	if err != nil {
		return err
	}
	for _, num := range open {
		o.used.add(num)
	}
	o.used.reserved = nil
	late := map[int]int{}
	for _, fd := range r.state.Tables[i] {
		if !r.late(fd.File) {
			continue
		}
		at := Slot{Num: fd.Num, CloseOnExec: fd.CloseOnExec}
		if num, ok := late[fd.File]; ok {
			o.Dup(num, at)
			continue
		}
		late[fd.File] = fd.Num
		if first := r.firstProc(fd.File); first != i {
			o.fetch(r.holders[first], r.nums[fd.File], at)
			continue
		}
		if err := r.open(o, fd.File, at); err != nil {
			return err
		}
	}
	return nil
}

// late tells whether Link opens a file.
func (r *Restorer) late(file int) bool { return !r.shared(file) && r.opensLate(file) }

// opensLate tells whether a file can be opened only when all processes have
// what Link needs.
func (r *Restorer) opensLate(file int) bool {
	if b, ok := r.records[file].(interface{ inBuilder() bool }); ok && b.inBuilder() {
		return false
	}
	rec, ok := r.records[file].(interface{ late() bool })
	return r.kindAt(file).Late || ok && rec.late()
}

// firstProc is the first process that has a file, or -1.
func (r *Restorer) firstProc(file int) int { return r.first[file] }

// CloseRest closes every descriptor of process i that is not in its table,
// and then takes the file locks. i is -1 for the builder, of which everything
// is closed. keep stays open.
//
// Preconditions:
//   - Nobody needs reserved numbers in this process any more.
//   - Nobody closes a descriptor of a regular file in it afterwards: that
//     drops the process's POSIX locks on the file (man 2 fcntl).
func (r *Restorer) CloseRest(i int, p *task.Process, keep ...int) error {
	o := r.opener(p)
	var table Table
	if i >= 0 {
		table = r.state.Tables[i]
	}
	stay := make(map[int]bool, len(table)+len(keep))
	for _, fd := range table {
		stay[fd.Num] = true
	}
	for _, num := range keep {
		stay[num] = true
	}
	for _, gap := range gaps(stay) {
		o.Call("close_range", unix.SYS_CLOSE_RANGE, gap.first, gap.last, 0)
	}
	if i >= 0 {
		r.lock(o, i)
	}
	return o.Run()
}

// span is a range of numbers.
type span struct{ first, last uint32 }

// gaps gives the ranges between the given numbers, and the one after them.
func gaps(stay map[int]bool) []span {
	var out []span
	first := uint32(0)
	for _, num := range slices.Sorted(maps.Keys(stay)) {
		if n := uint32(num); n > first {
			out = append(out, span{first, n - 1})
		}
		first = uint32(num) + 1
	}
	return append(out, span{first, math.MaxUint32})
}
