package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

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
	return s.refuseMakers()
}

// sharer is the first thread of a process, or another that has left its process.
type sharer struct {
	*process
	tid   task.TID
	index int // of the process
}

func (s *snapshot) sharers(part task.Part) ([]sharer, error) {
	var all []sharer
	for i, p := range s.procs {
		leader := p.held.Leader().TID
		all = append(all, sharer{p, leader, i})
		if part == task.PartMemory || part == task.PartHandlers {
			continue // threads cannot leave these (man 2 clone, CLONE_THREAD)
		}
		for _, t := range p.held.Threads[1:] {
			order, err := task.Compare(leader, t.TID, part)
			if err != nil {
				return nil, err
			}
			if order != 0 {
				all = append(all, sharer{p, t.TID, i})
			}
		}
	}
	return all, nil
}

// findSharers brings tasks that share one thing together by sorting, and notes
// in each process but the first of the tree who that is.
func (s *snapshot) findSharers(sh *taskstate.Share) error {
	all, err := s.sharers(sh.Part)
	if err != nil {
		return err
	}
	compare := func(a, b sharer) int {
		order, failed := task.Compare(a.tid, b.tid, sh.Part)
		err = errors.Join(err, failed)
		return order
	}
	slices.SortFunc(all, func(a, b sharer) int { return cmp.Or(compare(a, b), cmp.Compare(a.index, b.index)) })
	for i, head := 0, 0; i < len(all); i++ {
		one := all[i]
		thread := one.tid != one.held.Leader().TID
		if compare(all[head], one) != 0 {
			head = i
		}
		switch {
		case i != head && (thread || all[head].tid != all[head].held.Leader().TID):
			s.refuse(one.process, sh.What, fmt.Sprintf("task %d shares it with task %d, and one of them is a thread that has left its process", one.tid, all[head].tid), "")
		case i != head:
			*sh.Of(&one.shares) = all[head].held.ID
		case thread && sh.Part == task.PartFiles:
			s.refuse(one.process, sh.What, fmt.Sprintf("thread %d has one of its own (unshare with CLONE_FILES)", one.tid), "")
		}
	}
	return err
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
	_, err := treestate.Makers(recs)
	var sharing *treestate.SharingError
	if !errors.As(err, &sharing) {
		return err
	}
	p := byID[sharing.ID]
	for _, sh := range taskstate.Shareable {
		if id := *sh.Of(&p.shares); id != 0 {
			s.refuse(p, sh.What, fmt.Sprintf("shared with process %d; it %v", id, sharing.Err), "")
		}
	}
	return nil
}
