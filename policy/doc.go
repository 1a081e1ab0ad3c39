// Package policy reads policy files and answers what is to be done with a
// descriptor, at a checkpoint and at a restart. docs/policy.md has it from the
// user's side.
//
// A file has one rule a line:
//
//	[checkpoint|restart] ACTION CONDITION...
//
// The first rule that matches a descriptor counts. The package makes no
// system call and knows no kind of descriptor by itself: whoever parses gives
// the names of those that there are.
package policy

import (
	"strings"
)

// Action says what is to be done with a descriptor.
type Action string

// The actions. What they do is in docs/policy.md.
const (
	Reopen   Action = "reopen" // the default
	Save     Action = "save"
	Redirect Action = "redirect"
	Close    Action = "close"
	Ignore   Action = "ignore"
	Truncate Action = "truncate"
	Inherit  Action = "inherit"
	Fail     Action = "fail"

	// About connections that lead out of the tree.
	Keep    Action = "keep"
	Reset   Action = "reset"
	Hangup  Action = "hangup"
	Connect Action = "connect"

	// Bind is about sockets that others connect to, or send to.
	Bind Action = "bind"
)

// actions lists them with the operations at which they do more than Reopen.
var actions = []struct {
	name Action
	at   When
}{
	{Reopen, Checkpoint | Restart},
	{Save, Checkpoint},
	{Redirect, Checkpoint | Restart},
	{Close, Checkpoint | Restart},
	{Ignore, Checkpoint | Restart},
	{Truncate, Restart},
	{Inherit, Restart},
	{Fail, Checkpoint | Restart},
	{Keep, Checkpoint | Restart},
	{Reset, Restart},
	{Hangup, Restart},
	{Connect, Restart},
	{Bind, Restart},
}

// When is a set of operations.
type When uint8

// The operations that ask.
const (
	Checkpoint When = 1 << iota
	Restart
)

// Names of the standard streams of a tree: the descriptors 0, 1 and 2 of its
// root, and all that refer to the same open files.
var streams = []string{"stdin", "stdout", "stderr"}

// Subject is a descriptor that a rule may match. Fields left empty match no
// condition on them.
type Subject struct {
	Job     string   // name of the job
	Process string   // name of the process, as in /proc/PID/comm
	Kind    []string // words for its kind, see Words
	Path    string   // of the file, or what /proc/PID/fd shows instead
	FD      int
	Stream  string // "stdin", "stdout", "stderr" or ""
	Ends           // of a socket
}

// Rule is one line.
type Rule struct {
	Origin string // where it stands: FILE:LINE, or the flag that stands for it
	When   When
	Action Action
	To     string // of Redirect, Connect and Bind
	Append bool   // of Redirect: always write at the end
	All    bool   // it has no conditions, and is meant to have none

	Kind, Path, Process, Job []Glob
	FD                       []Span
	Stream, Direction        []string
	Local, Peer              []Address
}

// Does tells whether the rule is there and its action is a.
func (r *Rule) Does(a Action) bool { return r != nil && r.Action == a }

// Span is a range of descriptor numbers, both ends in it.
type Span struct{ First, Last int }

// Policy is a list of rules. A nil Policy has none.
type Policy struct {
	Rules []Rule
}

// Find gives the first rule that matches, and its index; nil if there is none.
func (p *Policy) Find(at When, s *Subject) (int, *Rule) {
	if p == nil {
		return -1, nil
	}
	for i := range p.Rules {
		if r := &p.Rules[i]; r.When&at != 0 && r.matches(s) {
			return i, r
		}
	}
	return -1, nil
}

// With gives a policy that asks more rules before, and others after, its own.
func (p *Policy) With(before, after []Rule) *Policy {
	all := append([]Rule(nil), before...)
	if p != nil {
		all = append(all, p.Rules...)
	}
	return &Policy{Rules: append(all, after...)}
}

// Empty tells that there is nothing to ask.
func (p *Policy) Empty() bool { return p == nil || len(p.Rules) == 0 }

// matches tells whether all conditions hold. Of those on one thing, one must.
func (r *Rule) matches(s *Subject) bool {
	return anyMatch(r.Kind, s.Kind...) && anyMatch(r.Path, s.Path) &&
		anyMatch(r.Process, s.Process) && anyMatch(r.Job, s.Job) &&
		inSpans(r.FD, s.FD) && oneOf(r.Stream, s.Stream) && r.matchesEnds(&s.Ends)
}

func (r *Rule) matchesEnds(e *Ends) bool {
	return anyAddress(r.Local, e.Local) && anyAddress(r.Peer, e.Peer) && oneOf(r.Direction, e.Direction)
}

func anyMatch(globs []Glob, names ...string) bool {
	for _, g := range globs {
		for _, name := range names {
			if g.Match(name) {
				return true
			}
		}
	}
	return len(globs) == 0
}

func inSpans(spans []Span, n int) bool {
	for _, s := range spans {
		if s.First <= n && n <= s.Last {
			return true
		}
	}
	return len(spans) == 0
}

func oneOf(list []string, name string) bool {
	for _, s := range list {
		if s == name {
			return true
		}
	}
	return len(list) == 0
}

// Words gives the words by which rules call a kind of descriptor: its name
// without what stands in parentheses, with dashes for spaces. A kind that is
// this or that has a word for each.
func Words(kind string) []string {
	if i := strings.IndexByte(kind, '('); i >= 0 {
		kind = strings.TrimSpace(kind[:i])
	}
	var words []string
	for _, w := range strings.Split(kind, " or ") {
		words = append(words, strings.ReplaceAll(strings.ToLower(w), " ", "-"))
	}
	return words
}
