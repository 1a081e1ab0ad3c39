package fdstate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"supervise/internal/procfs"
	"supervise/policy"
)

// Rules is a policy with what it needs to know of a tree. A capture and a
// restart ask it once each, about all descriptors.
type Rules struct {
	Policy    *policy.Policy
	Job       string
	Processes []string // their names, by index

	Ending bool                    // the tree ends with the snapshot: only then are connections kept
	Waited bool                    // what may pass by itself has had its time
	Moment func(name string) error // see Survey.Moment; may be nil

	Mapped map[uint32]bool // objects that memory maps: these are brought back in any case

	left []Left
}

// Left is a descriptor that a rule kept out of a snapshot.
type Left struct {
	Proc   int    `json:"-"` // index of the process
	PID    int    `json:"pid"`
	Comm   string `json:"comm"`
	FD     int    `json:"fd"`
	Kind   string `json:"kind"`
	Link   string `json:"link"`
	Action string `json:"action"` // "close", "ignore" or "redirect"
	To     string `json:"to,omitempty"`
	Rule   string `json:"rule"` // where it stands
}

// Left lists what was left out so far.
func (r *Rules) Left() []Left { return r.left }

// ruling is what rules say about a tree: close, redirect and inherit about
// single descriptors, everything else about open files as a whole.
type ruling struct {
	state *State
	from  []int            // by file: see ruled
	fds   [][]*policy.Rule // by process and index in its table
	files []*policy.Rule   // by file: the first rule on any descriptor that stays
	stays []bool           // by file: a descriptor stays
	other map[diversion]int
}

// diversion names the file that takes another's place for some descriptors.
type diversion struct {
	file int
	rule *policy.Rule
}

// ruled is what a file is to rules.
type ruled struct {
	kind []string
	path string
	ends policy.Ends
	from int // the file that this one was put in the place of; itself, if none
}

// judge asks about every descriptor of s.
func (r *Rules) judge(at policy.When, s *State, files []ruled) *ruling {
	ru := &ruling{state: s, fds: make([][]*policy.Rule, len(s.Tables)), other: map[diversion]int{},
		files: make([]*policy.Rule, len(files)), stays: make([]bool, len(files)), from: make([]int, len(files))}
	for i := range files {
		ru.from[i] = files[i].from
	}
	order := make([]int, len(files)) // of the rules in ru.files
	for i, table := range s.Tables {
		ru.fds[i] = make([]*policy.Rule, len(table))
		for j, fd := range table {
			n, rule := r.find(at, s, i, fd, files[fd.File])
			switch {
			case rule != nil && ofDescriptor(rule.Action):
				ru.fds[i][j] = rule
				continue
			case rule != nil && (ru.files[fd.File] == nil || n < order[fd.File]):
				ru.files[fd.File], order[fd.File] = rule, n
			}
			ru.stays[fd.File] = true
		}
	}
	return ru
}

// find asks about one descriptor.
func (r *Rules) find(at policy.When, s *State, proc int, fd FD, file ruled) (int, *policy.Rule) {
	if r == nil || r.Policy.Empty() {
		return -1, nil
	}
	sub := policy.Subject{Job: r.Job, Kind: file.kind, Path: file.path, Ends: file.ends, FD: fd.Num, Stream: s.stream(fd)}
	if proc < len(r.Processes) {
		sub.Process = r.Processes[proc]
	}
	return r.Policy.Find(at, &sub)
}

// ofDescriptor tells whether an action concerns single descriptors.
func ofDescriptor(a policy.Action) bool {
	return a == policy.Close || a == policy.Redirect || a == policy.Inherit
}

// stream tells which of the root's standard streams a descriptor belongs to.
func (s *State) stream(fd FD) string {
	out := Outside{}
	for _, root := range s.Tables[0][:min(3, len(s.Tables[0]))] {
		if root.Num <= 2 && root.File == fd.File {
			out.Std = append(out.Std, root.Num)
		}
	}
	if len(out.Std) == 0 {
		return ""
	}
	return streamNames[out.pick(fd.Num)]
}

var streamNames = [3]string{"stdin", "stdout", "stderr"}

// subjectOf is a file as rules see it.
func subjectOf(file int, kind *Kind, link string) ruled {
	name, _ := procfs.CutDeleted(link)
	sub := ruled{path: name, from: file}
	if kind != nil {
		sub.kind = policy.Words(kind.Name)
	}
	return sub
}

// divert does to the tables what the rules say about single descriptors, and
// calls each for every descriptor that it changed.
func (ru *ruling) divert(each func(proc int, fd FD, rule *policy.Rule)) error {
	for i, table := range ru.state.Tables {
		kept := make(Table, 0, len(table))
		for j, fd := range table {
			rule := ru.fds[i][j]
			if rule != nil {
				each(i, fd, rule)
			}
			switch {
			case rule == nil:
			case rule.Action == policy.Close:
				continue
			default:
				var err error
				if fd.File, err = ru.instead(fd.File, rule); err != nil {
					return err
				}
			}
			kept = append(kept, fd)
		}
		ru.state.Tables[i] = kept
	}
	return nil
}

// instead gives the file that a rule puts in the place of another. Descriptors
// that shared the one share the other.
func (ru *ruling) instead(file int, rule *policy.Rule) (int, error) {
	key := diversion{file, rule}
	if n, ok := ru.other[key]; ok {
		return n, nil
	}
	var f File
	var err error
	if rule.Action == policy.Inherit {
		f, err = inherited(&ru.state.Files[file], slices.Index(streamNames[:], rule.Stream[0]))
	} else {
		f, err = redirected(ru.state, ru.from[file], rule)
	}
	f.rule = rule
	ru.state.Files = append(ru.state.Files, f)
	ru.other[key] = len(ru.state.Files) - 1
	return ru.other[key], err
}

// inherited is a file that is restart's own.
func inherited(f *File, std int) (File, error) {
	data, err := encodeRecord(&Outside{Std: []int{std}, Like: std})
	return File{Tag: tagOutside, Flags: accessOf(f.Flags), Link: f.Link, Data: data}, err
}

// leaveOut tells whether a file that cannot be captured is no reason to refuse
// the snapshot. If some descriptors stay, that is for a rule that ignores it:
// they get another file.
func (ru *ruling) leaveOut(file int) bool {
	if !ru.stays[file] {
		return true
	}
	if !ru.files[file].Does(policy.Ignore) {
		return false
	}
	nothing := *ru.files[file]
	nothing.To = nowhere
	for i, table := range ru.state.Tables {
		for j, fd := range table {
			if fd.File == file && ru.fds[i][j] == nil {
				ru.fds[i][j] = &nothing
			}
		}
	}
	return true
}

// standIn puts what an ignored file becomes into its own place, for the messages
// that have it.
func (ru *ruling) standIn(d *Desc) error {
	if !d.flies {
		return nil
	}
	file, rule := d.index, *ru.files[d.index]
	rule.To = nowhere
	ru.from[file] = len(ru.state.Files)
	ru.state.Files = append(ru.state.Files, ru.state.Files[file])
	var err error
	ru.state.Files[file], err = redirected(ru.state, ru.from[file], &rule)
	return err
}

// subjects are the descriptions as rules see them.
func (s *Survey) subjects(kinds []Kind) []ruled {
	list := make([]ruled, len(s.Descs))
	for i, d := range s.Descs {
		kind := kindOf(kinds, d)
		list[i] = subjectOf(i, kind, d.Link)
		if kind != nil && kind.Ends != nil {
			list[i].ends = kind.Ends(d)
		}
	}
	return list
}

// leave notes a descriptor that a rule keeps out of the snapshot.
func (r *Rules) leave(s *Survey, kinds []Kind, proc int, fd FD, rule *policy.Rule) {
	d := s.Descs[fd.File]
	l := Left{Proc: proc, PID: int(s.pid(proc)), Comm: s.Procs[proc].Comm, FD: fd.Num, Link: d.Link,
		Action: string(rule.Action), Rule: rule.Origin}
	if kind := kindOf(kinds, d); kind != nil {
		l.Kind = kind.Name
	}
	if rule.Action != policy.Close {
		l.To = target(rule.To, d.Link)
	}
	r.left = append(r.left, l)
}

// target is the path that a redirect leads to: a name in it, if it ends in a
// slash.
func target(to, link string) string {
	if !strings.HasSuffix(to, "/") {
		return to
	}
	name, _ := procfs.CutDeleted(link)
	return path.Join(to, path.Base(name))
}

// Apply changes the state of an image to what rules say at a restart. The
// error lists what they forbid.
func (s *State) Apply(kinds []Kind, r *Rules) error {
	if err := s.check(); err != nil {
		return err
	}
	records, err := s.Records(kinds)
	if err != nil {
		return err
	}
	ru := r.judge(policy.Restart, s, s.subjects(kinds, records))
	var forbidden []string
	for i := range records {
		f, rule := &s.Files[i], ru.files[i]
		f.rule = rule
		switch {
		case rule.Does(policy.Fail):
			forbidden = append(forbidden, fmt.Sprintf("%s (%s)", f.Link, rule.Origin))
		case rule.Does(policy.Reopen):
			if err := s.reopen(i, records, r.Mapped); err != nil {
				return err
			}
		}
	}
	if forbidden != nil {
		return &ForbiddenError{forbidden}
	}
	return ru.divert(func(table int, fd FD, rule *policy.Rule) {
		if rule.Does(policy.Close) {
			s.closed = append(s.closed, closedFD{table, fd, rule})
		}
	})
}

// ForbiddenError says that a rule forbids a restart.
type ForbiddenError struct{ Files []string }

func (e *ForbiddenError) Error() string {
	return "a rule says fail for " + strings.Join(e.Files, ", ")
}

// Ender is a record of a socket.
type Ender interface{ Ends() policy.Ends }

// subjects are the files of an image as rules see them: one that a rule has
// redirected is still what it was.
func (s *State) subjects(kinds []Kind, records []Record) []ruled {
	byTag := map[Tag]*Kind{}
	for i := range kinds {
		byTag[kinds[i].Tag] = &kinds[i]
	}
	list := make([]ruled, len(s.Files))
	for i := range s.Files {
		from := i
		if rec, ok := records[i].(*Redirected); ok {
			from = rec.From
		}
		f := &s.Files[from]
		list[i] = subjectOf(from, byTag[f.Tag], f.Link)
		if sock, ok := records[from].(Ender); ok {
			list[i].ends = sock.Ends()
		}
	}
	return list
}

// reopen takes back what a rule said at the checkpoint, as far as the image
// has what there was.
func (s *State) reopen(file int, records []Record, mapped map[uint32]bool) error {
	f := &s.Files[file]
	switch rec := records[file].(type) {
	case *Redirected:
		if s.Files[rec.From].captured() {
			s.replace(file, rec.From)
		}
	case *Object:
		if rec.Saved && !mapped[rec.ID] {
			data, err := encodeRecord(&Regular{})
			f.Tag, f.Data = tagRegular, data
			return err
		}
	}
	return nil
}

// Objects are the ids of the objects that descriptors refer to.
func (s *State) Objects(kinds []Kind) (map[uint32]bool, error) {
	records, err := s.Records(kinds)
	if err != nil {
		return nil, err
	}
	ids := map[uint32]bool{}
	for _, table := range s.Tables {
		for _, fd := range table {
			switch rec := records[fd.File].(type) {
			case *Object:
				ids[rec.ID] = true
			case *PathOnly:
				ids[rec.Object] = true
			}
		}
	}
	return ids, nil
}

// replace puts one file in the place of another in all tables.
func (s *State) replace(file, by int) {
	for _, table := range s.Tables {
		for j := range table {
			if table[j].File == file {
				table[j].File = by
			}
		}
	}
}
