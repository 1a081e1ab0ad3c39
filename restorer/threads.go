package restorer

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
	"supervise/treestate"
)

// findHolders gives each descriptor table the process that it is restored
// through. Threads with a table of their own must exist for that, and be made
// while what the tables share is still open everywhere. Others must exist since
// descriptors refer to them.
func (r *restart) findHolders() error {
	if err := r.makeReferred(); err != nil {
		return err
	}
	for _, h := range r.tree.Holders() {
		p, rec := r.procs[h.Process], &r.tree.Processes[h.Process]
		if h.Thread > 0 && len(p.Threads) == 1 {
			if err := cloneThreads(p, rec.Threads); err != nil {
				return fmt.Errorf("process %d: %w", p.ID, err)
			}
		}
		if h.Thread > 0 {
			p = p.Threads[h.Thread].Alone()
		}
		r.holders = append(r.holders, p)
	}
	return nil
}

// makeReferred makes the threads of processes of which some descriptor refers
// to one that is not the first (PIDFD_THREAD).
func (r *restart) makeReferred() error {
	ids := r.files.References()
	for i, p := range r.procs {
		rec := &r.tree.Processes[i]
		if !slices.ContainsFunc(rec.Threads[1:], func(th taskstate.Thread) bool { return ids[th.ID] }) {
			continue
		}
		if err := cloneThreads(p, rec.Threads); err != nil {
			return fmt.Errorf("process %d: %w", p.ID, err)
		}
	}
	return nil
}

// sharesFiles tells whether holder i has the descriptor table of another.
func (r *restart) sharesFiles(i int) bool {
	return i < len(r.procs) && r.tree.Processes[i].Shares.Files != 0
}

// makeThreads makes all threads of process i but the leader, unless they are
// there, and ends the leader if it had exited.
func (r *restart) makeThreads(i int, p *task.Process) error {
	rec := &r.tree.Processes[i]
	if len(p.Threads) < len(rec.Threads) {
		if err := cloneThreads(p, rec.Threads); err != nil {
			return err
		}
	}
	return rec.EndLeader(p, &r.base)
}

// threadFlags are those of pthread_create(3), less what the thread sets itself.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_THREAD | unix.CLONE_SYSVSEM

// cloneThreads makes threads, each by the one that has what it shares. What
// one of them makes in a row takes one batch.
func cloneThreads(p *task.Process, threads []taskstate.Thread) error {
	makers, err := treestate.ThreadMakers(threads)
	if err != nil {
		return err
	}
	for made := 1; made < len(threads); {
		maker := makers[made]
		row := slices.IndexFunc(makers[made:], func(m int) bool { return m != maker })
		if row < 0 {
			row = len(threads) - made
		}
		var b task.Batch
		for _, th := range threads[made : made+row] {
			p.AddClone(&b, threadFlags&^ownFlags(&th), 0, th.ID)
		}
		tids, err := p.Threads[maker].CloneThreads(&b)
		if err != nil {
			return err
		}
		for i, tid := range tids {
			if _, err := p.AdoptThread(tid, threads[made+i].ID); err != nil {
				return err
			}
		}
		made += row
	}
	return nil
}

// ownFlags are the flags of clone(2) for what a thread begins.
func ownFlags(th *taskstate.Thread) uint64 {
	var flags uint64
	for _, sh := range taskstate.Shareable {
		if *sh.Of(&th.Left) == th.ID {
			flags |= sh.Flag
		}
	}
	return flags
}
