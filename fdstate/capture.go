package fdstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/refuse"
	"supervise/internal/task"
)

// Env is what capturing descriptors needs of the rest of the snapshot.
type Env interface {
	// Object hands over a file whose content goes into the image: a memfd or
	// an unlinked regular file, open as fd of pid. The same inode gives the
	// same id.
	Object(pid task.PID, fd int, st *unix.Stat_t, link string) (uint32, error)
}

// Capture records every descriptor of a frozen tree. procs[0] is its root.
// What cannot be captured is added to refused, all of it; the State is
// complete only if nothing was.
//
// Preconditions:
//   - Every process is held and infected, and the caller is on the tracer's
//     OS thread.
func Capture(procs []Proc, kinds []Kind, env Env, refused *refuse.List) (State, error) {
	s, err := newSurvey(procs, env)
	if err != nil {
		return State{}, err
	}
	defer s.close()
	state := State{Files: make([]File, len(s.Descs)), Tables: make([]Table, len(procs))}
	for i, d := range s.Descs {
		file, err := d.capture(kinds, s)
		var no *Refusal
		switch {
		case errors.As(err, &no):
			refused.Add(refuse.Object{PID: int(d.PID), Comm: d.Comm, What: d.What(), Why: no.Why, Hint: no.Hint, Passing: no.Passing})
		case err != nil:
			return State{}, s.explain(d.Proc, fmt.Errorf("capture %s of pid %d: %w", d.What(), d.PID, err))
		}
		state.Files[i] = file
	}
	for i, table := range s.tables {
		state.Tables[i] = make(Table, 0, len(table))
		for _, e := range table {
			state.Tables[i] = append(state.Tables[i], FD{Num: e.num, File: e.desc.index, CloseOnExec: e.closeOnExec})
		}
	}
	return state, nil
}

// capture records one description.
func (d *Desc) capture(kinds []Kind, s *Survey) (File, error) {
	kind := kindOf(kinds, d)
	switch {
	case kind == nil:
		return File{}, Refuse(fmt.Sprintf("this kind of file (mode %#o) is not known", d.Stat.Mode), "")
	case kind.Capture == nil:
		return File{}, Refuse(kind.Why, kind.Hint)
	}
	rec, err := kind.Capture(d, s)
	if err != nil {
		return File{}, err
	}
	f := File{Tag: kind.Tag, Flags: d.Flags(), Pos: d.Info.Pos, Link: d.Link, Locks: d.locks}
	if f.Owner, err = d.captureOwner(s); err != nil {
		return File{}, err
	}
	f.Data, err = encodeRecord(rec)
	return f, err
}
