package restorer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"supervise/internal/task"
	"supervise/taskstate"
)

// A tree whose ids are translated is built as in our own pid namespace, but for
// the numbers, which the kernel chooses (package virtual, ids.go). Without
// privilege some things are not to be had:
//
//   - The link /proc/PID/exe: the builder executes the tree's program, which leads
//     all its copies to it; a tree of several programs is refused.
//   - A time namespace: the clocks are the host's. A tree from an earlier boot, or
//     another host, for which they would go back, is refused.

// idAttempts is how often a tree is built anew, because a new number was an old
// one.
const idAttempts = 4

var errClash = errors.New("a new id is one of the old ones")

// planTranslation refuses trees that cannot do with it.
func (r *restart) planTranslation() error {
	if !r.ids.limited {
		return nil
	}
	const hint = "restart it where user namespaces are allowed, or as root"
	root := &r.tree.Processes[0].Mem.MM
	for i := range r.tree.Processes {
		p := &r.tree.Processes[i]
		if p.Shares.Memory == 0 && (p.Mem.MM.Exe != root.Exe || p.Mem.MM.ExeObject != 0) {
			why := fmt.Sprintf("without privilege and namespaces all processes must run one program, of a file that is still there: %s, %s", root.Exe, p.Mem.MM.Exe)
			return &HostError{Why: why, Hint: hint}
		}
	}
	ahead, err := r.tree.Clocks.Ahead()
	if ahead {
		return &HostError{Why: "without a time namespace the tree's clocks would go back: it is of an earlier boot, or another host", Hint: hint}
	}
	return err
}

// startTranslation begins to answer calls about ids, when all are known.
func (r *restart) startTranslation() error {
	if !r.ids.translate {
		return nil
	}
	if id, clash := r.aliases.Clash(); clash {
		return fmt.Errorf("%w: %d", errClash, id)
	}
	if err := r.checkRobust(); err != nil {
		return err
	}
	r.tree.Virtual.Aliases = r.aliases.List()
	return r.startAnswerer()
}

// checkRobust refuses a tree that holds a robust mutex: should its owner end, the
// kernel would look for its new id in it, and find the old one.
func (r *restart) checkRobust() error {
	for i, p := range r.procs {
		rec := &r.tree.Processes[i]
		for j := range rec.Threads {
			held, err := holdsRobust(p, rec.Threads[j].Robust)
			if err != nil {
				return fmt.Errorf("thread %d: %w", rec.Threads[j].ID, err)
			}
			if held {
				return &HostError{
					Why:  fmt.Sprintf("thread %d holds a robust mutex, which has its id in it", rec.Threads[j].ID),
					Hint: "restart it without --ids=translate, where user namespaces are allowed, or as root",
				}
			}
		}
	}
	return nil
}

// holdsRobust tells whether a robust list (Linux include/uapi/linux/futex.h) has
// an entry: one that is empty leads to itself.
func holdsRobust(p *task.Process, l taskstate.RobustList) (bool, error) {
	const pendingAt = 16 // struct robust_list_head: list_op_pending
	if l.Head == 0 {
		return false, nil
	}
	head := make([]byte, pendingAt+8)
	if err := task.Read(p.PID, head, l.Head); err != nil {
		return false, fmt.Errorf("read its robust list: %w", err)
	}
	next, pending := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[pendingAt:])
	return next != uint64(l.Head) || pending != 0, nil
}
