package fdstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/refuse"
	"supervise/internal/task"
	"supervise/policy"
)

// Env is what capturing descriptors needs of the rest of the snapshot.
type Env interface {
	// Object hands over a file whose content goes into the image: a memfd, an
	// unlinked regular file, or one that is to be saved, open as fd of pid. The
	// same inode gives the same id.
	Object(pid task.PID, fd int, st *unix.Stat_t, link string) (uint32, error)
}

// Capture records every descriptor of a frozen tree, as rules say. procs[0] is
// its root. What cannot be captured is added to refused, all of it; the State
// is complete only if nothing was.
//
// Preconditions:
//   - Every process is held and infected, and the caller is on the tracer's
//     OS thread.
func Capture(procs []Proc, kinds []Kind, env Env, rules *Rules, refused *refuse.List) (State, error) {
	if rules == nil {
		rules = &Rules{}
	}
	s, err := newSurvey(procs, kinds, env, rules)
	if err != nil {
		return State{}, err
	}
	defer s.close()
	state := State{Files: make([]File, len(s.Descs)), Tables: s.makeTables()}
	ru := rules.judge(policy.Checkpoint, &state, s.subjects(kinds))
	for i, d := range s.Descs {
		if ru.files[i].Does(policy.Keep) && !rules.Ending {
			ru.files[i] = nil
		}
		ru.stays[i] = ru.stays[i] || d.flies
		state.Files[i], err = d.capture(kinds, s, ru.files[i])
		var no *Refusal
		switch {
		case errors.As(err, &no) && ru.leaveOut(i):
			if err := ru.standIn(d); err != nil {
				return State{}, err
			}
		case errors.As(err, &no):
			refused.Add(refuse.Object{PID: int(d.reporter().PID), Comm: d.Comm, What: d.What(), Why: no.Why, Hint: no.Hint, Passing: no.Passing})
		case err != nil:
			return State{}, s.explain(d.Proc, fmt.Errorf("capture %s of pid %d: %w", d.What(), d.PID, err))
		}
	}
	return state, ru.divert(func(proc int, fd FD, rule *policy.Rule) { rules.leave(s, kinds, proc, fd, rule) })
}

// makeTables gives the descriptors of all processes.
func (s *Survey) makeTables() []Table {
	tables := make([]Table, len(s.tables))
	for i, table := range s.tables {
		tables[i] = make(Table, 0, len(table))
		for _, e := range table {
			tables[i] = append(tables[i], FD{Num: e.num, File: e.desc.index, CloseOnExec: e.closeOnExec})
		}
	}
	return tables
}

// capture records one description. One that is refused has no record.
func (d *Desc) capture(kinds []Kind, s *Survey, rule *policy.Rule) (File, error) {
	f := File{Flags: d.Flags(), Pos: d.Info.Pos, Link: d.Link, Locks: d.locks}
	kind := kindOf(kinds, d)
	if kind == nil {
		return f, Refuse(fmt.Sprintf("this kind of file (mode %#o) is not known", d.Stat.Mode), "")
	}
	f.Tag = kind.Tag
	d.rule = rule
	capture := kind.Capture
	switch {
	case rule.Does(policy.Fail):
		return f, Refuse("a rule says so ("+rule.Origin+")", "")
	case kind.Tag == tagRegular && (rule.Does(policy.Save) || rule == nil && d.inMemory()):
		f.Tag, capture = tagObject, saveRegular
	case capture == nil:
		return f, Refuse(kind.Why, kind.Hint)
	}
	rec, err := capture(d, s)
	if err != nil {
		return f, err
	}
	if f.Owner, err = d.captureOwner(s); err != nil {
		return f, err
	}
	if err := d.checkFlight(kind, rec, &f); err != nil {
		return f, err
	}
	f.Data, err = encodeRecord(rec)
	return f, err
}
