package ipcstate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
)

// Proc is one process of a frozen tree.
type Proc struct {
	Held *task.Process
	Comm string
	UID  int // effective
}

// Tree is what is known of a frozen tree.
type Tree struct {
	Procs    []Proc             // Procs[0] is the root
	Zombies  []task.ID          // ids that were the tree's, too
	Begun    time.Time          // when the oldest process began
	Attached map[int]Attachment // by id of a segment
	Own      bool               // the ipc namespace was made for the tree
	Refused  *refuse.List       // gets what cannot be captured
}

// Attachment is what a tree's mappings tell of a segment.
type Attachment struct {
	Mappings int
	Key      int32 // which the segment had when it was made
}

// capture is one tree being looked at.
type capture struct {
	*Tree
	root    *task.Process
	ids     map[task.ID]bool // of the tree's processes
	users   map[int]bool     // their effective uids
	waiting map[call]bool    // objects that threads wait for
	listed  map[int]bool     // ids of the namespace's segments
	samePID bool             // ids of the tree are pids here
	rec     State
}

// call is a system call on an object.
type call struct {
	nr uintptr
	id int
}

// Capture records the System V objects of a tree, or nil if it has none. The
// record is complete only if nothing was refused.
//
// Preconditions:
//   - Every process is held and infected, and the caller is on the tracer's
//     OS thread.
func Capture(t *Tree) (*State, error) {
	c := &capture{Tree: t, rec: State{Own: t.Own}, root: t.Procs[0].Held, ids: map[task.ID]bool{}, users: map[int]bool{}, waiting: map[call]bool{}, listed: map[int]bool{}}
	if err := c.survey(); err != nil {
		return nil, err
	}
	for _, kind := range []struct {
		family  *family
		capture func([]found) error
	}{{&segments, c.segments}, {&arrays, c.arrays}, {&queues, c.queues}} {
		objects, err := kind.family.list(c.root)
		if err == nil && len(objects) > 0 {
			err = kind.capture(objects)
		}
		if err != nil {
			return nil, fmt.Errorf("capture each %s: %w", kind.family.what, err)
		}
	}
	for id := range t.Attached {
		if !c.listed[id] {
			c.refuse(&segments, id, "it is attached, but not in the tree's ipc namespace", "")
		}
	}
	if c.rec.Empty() {
		return nil, nil
	}
	return &c.rec, nil
}

// survey gathers what tells the tree's objects from others.
func (c *capture) survey() error {
	c.samePID = true
	for _, p := range c.Procs {
		c.ids[p.Held.ID] = true
		c.users[p.UID] = true
		c.samePID = c.samePID && int(p.Held.PID) == int(p.Held.ID)
		for _, t := range p.Held.Threads {
			if nr, first, ok := t.Regs.InCall(); ok {
				c.waiting[call{nr, int(int32(first))}] = true
			}
		}
	}
	for _, id := range c.Zombies {
		c.ids[id] = true
	}
	ours, err := procfs.Namespace(int(c.root.PID), "ipc")
	if err != nil {
		return err
	}
	for _, p := range c.Procs[1:] {
		theirs, err := procfs.Namespace(int(p.Held.PID), "ipc")
		if err != nil {
			return err
		}
		if theirs != ours {
			c.Refused.Add(refuse.Object{PID: int(p.Held.PID), Comm: p.Comm, What: "ipc namespace", Why: "it is not the root's"})
		}
	}
	return nil
}

// waits tells whether a thread is inside one of these calls on an object.
func (c *capture) waits(id int, calls ...uintptr) bool {
	for _, nr := range calls {
		if c.waiting[call{nr, id}] {
			return true
		}
	}
	return false
}

// refuse adds an object that cannot be captured.
func (c *capture) refuse(f *family, id int, why, hint string) {
	c.Refused.Add(refuse.Object{PID: int(c.root.PID), Comm: c.Procs[0].Comm,
		What: fmt.Sprintf("%s %d", f.what, id), Why: why, Hint: hint})
}

// signs are what tells whose an object is.
type signs struct {
	used    bool      // by the tree, for certain
	waiters int       // outside the tree
	by      []task.ID // who is known to have used it
	at      time.Time // when it was last used
	made    time.Time // when it was made, or last configured; zero if that is no sign
}

// belongs decides whose an object is, and whether that is only likely. One
// that is used on both sides is refused.
func (c *capture) belongs(f *family, perm *Perm, s signs) (mine, loose bool) {
	var outsider task.ID
	for _, id := range s.by {
		switch {
		case id == 0:
		case c.ids[id] && (!c.samePID || began(id, s.at)): // not one of the same pid before it
			s.used = true
		case c.lives(id, s.at):
			outsider = id
		}
	}
	outside := s.waiters > 0 || outsider != 0
	switch {
	case c.Own:
		return true, false
	case s.used && outsider != 0:
		c.refuse(f, perm.ID, fmt.Sprintf("process %d outside the tree uses it, too", outsider), allUsers)
		return false, false
	case s.used && outside:
		c.refuse(f, perm.ID, "a process outside the tree waits for it", allUsers)
		return false, false
	case s.used:
		return true, false
	}
	loose = !outside && c.users[perm.CUID] && c.users[perm.UID] && !s.made.Before(c.Begun.Truncate(time.Second))
	return loose, loose
}

// lives tells whether a process that is not the tree's is still the one that
// used an object at a given time.
func (c *capture) lives(id task.ID, at time.Time) bool {
	if !c.samePID {
		return false // not a number of ours, and nobody outside has it
	}
	st, err := procfs.ReadStat(int(id))
	return err == nil && !st.Dead() && began(id, at)
}

// began tells whether the process that has a pid now had begun at a given time.
// Objects keep whole seconds of a clock that stands still between ticks, so
// what a process does as it begins may bear the second before.
func began(id task.ID, at time.Time) bool {
	const coarse = 2 * time.Second
	st, err := procfs.ReadStat(int(id))
	if err != nil {
		return false
	}
	start, err := procfs.Began(&st)
	return err == nil && !start.After(at.Add(coarse))
}

// asAny runs calls in the first process that has the right to them.
func (c *capture) asAny(b func() *task.Batch) error {
	var err error
	for _, p := range c.Procs {
		if err = p.Held.Run(b()); !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	return err
}

func stamp(seconds uint64) time.Time { return time.Unix(int64(seconds), 0) }

// latest is the last of some times.
func latest(seconds ...uint64) time.Time { return stamp(slices.Max(seconds)) }

// isGone tells whether an object that was there a moment ago has been removed,
// by somebody outside.
func isGone(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIDRM) }

const allUsers = "take the snapshot of a tree that has all of its users in it"
