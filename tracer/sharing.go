package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
	"supervise/treestate"
)

// surveySharing finds what processes share that normally only threads do, and
// refuses what could not be made again.
func (s *snapshot) surveySharing() error {
	for i := range taskstate.Shareable {
		if err := s.findSharers(&taskstate.Shareable[i]); err != nil {
			return err
		}
	}
	for _, p := range s.procs {
		s.refuseThreadMakers(p)
	}
	return s.refuseMakers()
}

// sharer is the first thread of a process, or another that has left its process.
type sharer struct {
	*process
	index  int // of the process
	thread int // of the thread in it; 0: the first
}

func (s sharer) tid() task.TID { return s.held.Threads[s.thread].TID }

// older orders sharers as a restart makes them.
func (s sharer) older(t sharer) int {
	return cmp.Or(cmp.Compare(s.index, t.index), cmp.Compare(s.thread, t.thread))
}

func (s *snapshot) sharers(part task.Part) ([]sharer, error) {
	var all []sharer
	for i, p := range s.procs {
		leader := p.held.Leader().TID
		all = append(all, sharer{p, i, 0})
		if part == task.PartMemory || part == task.PartHandlers {
			continue // threads cannot leave these (man 2 clone, CLONE_THREAD)
		}
		for j, t := range p.held.Threads[1:] {
			order, err := task.Compare(leader, t.TID, part)
			if err != nil {
				return nil, err
			}
			if order != 0 {
				all = append(all, sharer{p, i, j + 1})
			}
		}
	}
	return all, nil
}

// findSharers brings tasks that share one thing together by sorting, and notes
// in each process but the first of the tree who that is; in threads that have
// left their process, in the first as well.
func (s *snapshot) findSharers(sh *taskstate.Share) error {
	all, err := s.sharers(sh.Part)
	if err != nil {
		return err
	}
	compare := func(a, b sharer) int {
		order, failed := task.Compare(a.tid(), b.tid(), sh.Part)
		err = errors.Join(err, failed)
		return order
	}
	slices.SortFunc(all, func(a, b sharer) int { return cmp.Or(compare(a, b), a.older(b)) })
	for i, head := 0, 0; i < len(all); i++ {
		if compare(all[head], all[i]) != 0 {
			head = i
		}
		s.noteSharer(sh, all[head], all[i])
	}
	return err
}

// noteSharer notes that one shares with head, the first that has it.
func (s *snapshot) noteSharer(sh *taskstate.Share, head, one sharer) {
	switch {
	case one.thread > 0 && head.thread > 0 && one.process == head.process:
		*sh.Of(&one.facts.Left[one.thread]) = head.held.Threads[head.thread].ID
	case one.thread > 0 || head.thread > 0:
		s.refuse(one.process, sh.What, fmt.Sprintf("task %d shares it with task %d of another process, and one of them is a thread that has left its process", one.tid(), head.tid()), "")
	case one.process != head.process:
		*sh.Of(&one.shares) = head.held.ID
	}
}

// refuseThreadMakers refuses threads that share with one another in a way that
// a restart could not make, or whose descriptors cannot be had here.
func (s *snapshot) refuseThreadMakers(p *process) {
	var recs []taskstate.Thread
	for i, t := range p.held.Threads {
		recs = append(recs, taskstate.Thread{ID: t.ID, Left: p.facts.Left[i]})
	}
	var sharing *treestate.SharingError
	if _, err := treestate.ThreadMakers(recs); errors.As(err, &sharing) {
		s.refuse(p, fmt.Sprintf("thread %d", sharing.ID), sharing.Err.Error(), "")
	}
	for _, t := range s.ownTables(p) {
		fd, err := t.Alone().Pidfd()
		if err != nil {
			s.refuse(p, fmt.Sprintf("thread %d", t.TID), fmt.Sprintf("has a descriptor table of its own (unshare with CLONE_FILES): %v", err), "use Linux 6.9 or later")
			continue
		}
		unix.Close(fd)
	}
}

// ownTables are the threads that are the first with a descriptor table.
func (s *snapshot) ownTables(p *process) []*task.Thread {
	var own []*task.Thread
	for i, t := range p.held.Threads {
		if p.facts.Left[i].Files == t.ID {
			own = append(own, t)
		}
	}
	return own
}

// refuseMakers refuses what is shared in a way that a restart could not make.
func (s *snapshot) refuseMakers() error {
	var recs []*taskstate.Process
	byID := map[task.ID]*process{}
	parents := s.ids()
	for _, p := range s.procs {
		rec := taskstate.IDs(p.held, p.facts)
		rec.Parent, rec.Shares = parents[p.facts.Stat.PPID], p.shares
		recs = append(recs, &rec)
		byID[p.held.ID] = p
	}
	origins, err := treestate.Makers(recs, s.ownZombies(parents))
	var sharing *treestate.SharingError
	switch {
	case errors.As(err, &sharing):
		p := cmp.Or(byID[sharing.ID], s.procs[0]) // it may be a zombie
		s.refuse(p, sharedThings(&p.shares), sharing.Err.Error(), "")
		return nil
	case err != nil:
		return err
	}
	for _, o := range origins {
		if p := byID[o.ID]; p != nil && o.Fresh {
			s.refuseInherited(p)
		}
	}
	return nil
}

// sharedThings lists what a process shares with earlier ones.
func sharedThings(s *taskstate.Sharing) string {
	var what []string
	for _, sh := range taskstate.Shareable {
		if id := *sh.Of(s); id != 0 {
			what = append(what, fmt.Sprintf("%s with process %d", sh.What, id))
		}
	}
	if what == nil {
		return "what those that it has made share with others"
	}
	return strings.Join(what, ", ")
}

// refuseInherited refuses shared anonymous memory, which processes inherit from the
// builder, of one that has to execute a program in between.
func (s *snapshot) refuseInherited(p *process) {
	for i := range p.vmas {
		if v := &p.vmas[i]; v.Shared && v.Path == "/dev/zero" {
			s.refuse(p, fmt.Sprintf("shared anonymous memory at %#x", v.Start),
				"it shares memory, or makes one that does, with others above a process that does not", "use a memfd instead")
			return
		}
	}
}
