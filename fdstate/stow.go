package fdstate

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// The builder's numbers lie above those of every process of the tree, and may
// not suffice for everything that is shared. Then a keeper, a copy of the
// builder, has what was made so far, and the builder makes more at the same
// numbers. Whose it is fetches it from the keeper, which ends before the tree
// runs.

// placer is a record that says itself where it is open in the end: see Put.
type placer interface{ PlacesItself() }

// stow is where a description waits for its processes.
type stow struct {
	keeper *task.Process // nil: it is in the builder
	num    int
}

// findLimit reads how many descriptors the builder may have.
func (r *Restorer) findLimit(builder *task.Process) error {
	limit := make([]byte, 16) // struct rlimit64
	if _, err := builder.Call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 0, limit); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	r.limit = int(min(binary.LittleEndian.Uint64(limit), 1<<30))
	return nil
}

// Room is how many numbers can be reserved.
func (o *Opener) Room() int {
	return o.r.limit - Landings - len(o.r.free.used) - len(o.r.free.reserved)
}

// Keeper makes a process that has all that the builder has open now. It is gone
// when the tree runs.
func (o *Opener) Keeper() (*task.Process, error) {
	if err := o.Run(); err != nil {
		return nil, err
	}
	p, err := o.r.keeper()
	if err == nil {
		o.r.keepers[p] = o.Reserve()
	}
	return p, err
}

// Stays tells whether a file must be in the builder: a message carries it.
func (o *Opener) Stays(f *File) bool { return o.r.flies[o.r.indexOf(f)] }

// Put says where a file is open whose record places itself: at a reserved number
// of the builder, or of a keeper that is not nil.
func (o *Opener) Put(f *File, keeper *task.Process, num int) {
	file := o.r.indexOf(f)
	if keeper == nil {
		o.r.places[file] = num
		return
	}
	o.r.stowed[file] = stow{keeper, num}
}

// indexOf is the place of a file in the list that it is part of.
func (r *Restorer) indexOf(f *File) int {
	if r.index == nil {
		r.index = make(map[*File]int, len(r.state.Files))
		for i := range r.state.Files {
			r.index[&r.state.Files[i]] = i
		}
	}
	return r.index[f]
}

// unstow queues the fetching of a description from its keeper.
func (o *Opener) unstow(from stow, at Slot) {
	pidfd := o.r.keepers[from.keeper]
	if !o.known[from.keeper] {
		o.Open(Slot{Num: pidfd, CloseOnExec: true}, "pidfd_open", unix.SYS_PIDFD_OPEN, from.keeper.ID, 0)
		o.known[from.keeper] = true
	}
	o.Open(at, fmt.Sprintf("pidfd_getfd %d of process %d", from.num, from.keeper.ID), unix.SYS_PIDFD_GETFD, pidfd, from.num, 0)
}
