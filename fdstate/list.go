package fdstate

import (
	"supervise/policy"
)

// Entry is a descriptor for those who want to know what there is.
type Entry struct {
	Table int // the number of its table
	FD    int
	Kind  string
	Path  string // or what /proc/PID/fd shows instead
	Ends  policy.Ends

	Becomes string // at a restart, if it is not what it was
	By      string // whose rule that is
}

// fated is a record of something that may not come back as it was.
type fated interface {
	// Fate tells what it becomes by a rule, which may be nil; "" is what it was.
	Fate(rule *policy.Rule) string
}

// List names the first descriptors of all tables, those included that rules have
// closed at this restart, and counts all by kind.
func (s *State) List(kinds []Kind, most int, count map[string]int) (list []Entry, all bool, err error) {
	byTag := map[Tag]*Kind{}
	for i := range kinds {
		byTag[kinds[i].Tag] = &kinds[i]
	}
	all = true
	add := func(table int, fd FD, closed *policy.Rule) error {
		f := &s.Files[fd.File]
		kind := byTag[f.Tag]
		if kind == nil {
			return &RecordError{File: fd.File, Tag: f.Tag, Err: errUnknownTag}
		}
		count[kind.Name]++
		if all = all && len(list) < most; !all {
			return nil
		}
		e := Entry{Table: table, FD: fd.Num, Kind: kind.Name, Path: f.Link}
		err := e.complete(f, kind)
		if closed != nil {
			e.Becomes, e.By = "closed", closed.Origin
		}
		list = append(list, e)
		return err
	}
	for i, table := range s.Tables {
		for _, fd := range table {
			if err := add(i, fd, nil); err != nil {
				return nil, false, err
			}
		}
	}
	for _, c := range s.closed {
		if err := add(c.table, c.fd, c.rule); err != nil {
			return nil, false, err
		}
	}
	return list, all, nil
}

// complete adds what only the record tells.
func (e *Entry) complete(f *File, kind *Kind) error {
	if kind.New == nil || !f.captured() {
		return nil
	}
	rec := kind.New()
	if err := decodeRecord(f.Data, rec); err != nil {
		return &RecordError{Tag: f.Tag, Err: err}
	}
	if sock, ok := rec.(Ender); ok {
		e.Ends = sock.Ends()
	}
	if r, ok := rec.(fated); ok {
		e.Becomes = r.Fate(f.rule)
	}
	if e.Becomes != "" && f.rule != nil {
		e.By = f.rule.Origin
	}
	return nil
}

// Fate is the other file.
func (rec *Redirected) Fate(*policy.Rule) string { return rec.Path }

// Fate is what a plugin has.
func (*Given) Fate(*policy.Rule) string { return "what a plugin hands over" }

// closedFD is a descriptor that a rule of this restart has closed.
type closedFD struct {
	table int
	fd    FD
	rule  *policy.Rule
}
