package fdstate

import (
	"fmt"
	"slices"

	"supervise/internal/task"
)

// watcher is a record that watches files.
type watcher interface {
	// Watch queues the calls that begin to watch through descriptor num.
	Watch(o *Opener, num int)
}

// Arm makes, in process i, what tells the program of others' doing: owners of
// signals, leases, and watches of files.
//
// Preconditions:
//   - All processes and threads exist, since signals go to them.
//   - Nobody opens or closes a file for the tree any more: it would be told.
func (r *Restorer) Arm(i int, p *task.Process) error {
	o := r.opener(p)
	for _, file := range r.arms[i] {
		mark := len(o.then)
		r.arm(o, file, r.nums[file])
		o.wrap(mark, func(err error) error { return fmt.Errorf("restore %s: %w", r.state.Files[file].Link, err) })
	}
	return o.Run()
}

// findArmed lists for each process the files that Arm is about.
func (r *Restorer) findArmed() {
	r.arms = make([][]int, len(r.state.Tables))
	for file := range r.state.Files {
		if first := r.firstProc(file); first >= 0 && r.armed(file) {
			r.arms[first] = append(r.arms[first], file)
		}
	}
}

// armed tells whether there is something to arm. Files in flight have nothing.
func (r *Restorer) armed(file int) bool {
	f := &r.state.Files[file]
	_, watches := r.records[file].(watcher)
	lease := slices.ContainsFunc(f.Locks, func(l Lock) bool { return l.Kind == LockLease })
	return watches || lease || f.Owner != nil
}

// arm queues the calls for a file that is open as num. A lease comes after the
// owner: it would make the process that takes it the owner.
func (r *Restorer) arm(o *Opener, file, num int) {
	f := &r.state.Files[file]
	if f.Owner != nil {
		f.Owner.restore(o, num, f.Flags)
	}
	for _, l := range f.Locks {
		if l.Kind == LockLease {
			l.restore(o, num)
		}
	}
	if rec, ok := r.records[file].(watcher); ok {
		rec.Watch(o, num)
	}
}
