package tracer

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/ipcstate"
)

// captureIPC records System V objects. What cannot be captured of them comes
// out only here, since they are looked at from inside; still, nothing has been
// written yet.
func (s *snapshot) captureIPC() error {
	tree, err := s.ipcTree()
	if err != nil {
		return err
	}
	if s.rec.IPC, err = ipcstate.Capture(tree); err != nil {
		return err
	}
	if s.rec.IPC != nil {
		for i := range s.rec.IPC.Segments {
			if err := s.captureSegment(&s.rec.IPC.Segments[i]); err != nil {
				return err
			}
		}
	}
	return s.refused.Err()
}

// captureSegment finds the memory object of a segment. What nobody has mapped
// of it is read through whoever attached or detached it last, so that its
// shm_lpid stays.
func (s *snapshot) captureSegment(rec *ipcstate.Segment) error {
	p := s.procs[0]
	for _, q := range s.procs {
		if q.held.ID == rec.Last {
			p = q
		}
	}
	var err error
	rec.Object, err = s.objects.Segment(rec.Perm.ID, rec.Size, p.held)
	if errors.Is(err, unix.EACCES) {
		s.refuse(p, fmt.Sprintf("System V shared memory segment %d", rec.Perm.ID), "the process may not read it", "give its owner the right to read it")
		return nil
	}
	return err
}

// ipcTree tells what ipcstate has to know of the tree.
func (s *snapshot) ipcTree() (*ipcstate.Tree, error) {
	tree := &ipcstate.Tree{Begun: time.Now(), Attached: map[int]ipcstate.Attachment{}, Refused: &s.refused}
	for id, a := range s.objects.Attached() {
		tree.Attached[id] = ipcstate.Attachment(a)
	}
	for _, p := range s.procs {
		tree.Procs = append(tree.Procs, ipcstate.Proc{Held: p.held, Comm: p.facts.Stat.Comm, UID: p.facts.Status.UIDs[1]})
		began, err := procfs.Began(&p.facts.Stat)
		if err != nil {
			return nil, err
		}
		if began.Before(tree.Begun) {
			tree.Begun = began
		}
	}
	for _, z := range s.zombies {
		tree.Zombies = append(tree.Zombies, z.ID)
	}
	theirs, err := procfs.Namespace(int(s.procs[0].held.PID), "ipc")
	if err != nil {
		return nil, err
	}
	ours, err := procfs.OwnNamespace("ipc")
	tree.Own = theirs != ours
	return tree, err
}
