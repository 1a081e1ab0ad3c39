package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"supervise/internal/rulefile"
)

// Parse reads a policy file. kinds are the names of all kinds of descriptors.
// The error lists every bad line.
func Parse(file string, text string, kinds []string) (*Policy, error) {
	p := &Policy{}
	err := rulefile.Parse(file, text, func(words []rulefile.Word, origin string) error {
		r, err := parseLine(words, kinds)
		if err != nil {
			return err
		}
		r.Origin = origin
		p.Rules = append(p.Rules, *r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// parseLine reads a rule.
func parseLine(words []rulefile.Word, kinds []string) (*Rule, error) {
	r := &Rule{When: Checkpoint | Restart}
	switch words[0].Text {
	case "checkpoint":
		r.When, words = Checkpoint, words[1:]
	case "restart":
		r.When, words = Restart, words[1:]
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("an action is missing: one of %s", actionNames())
	}
	if err := r.setAction(words[0].Text); err != nil {
		return nil, err
	}
	for _, w := range words[1:] {
		if err := r.add(w, kinds); err != nil {
			return nil, err
		}
	}
	return r, r.check()
}

func actionNames() string {
	var names []string
	for _, a := range actions {
		names = append(names, string(a.name))
	}
	return strings.Join(names, ", ")
}

func (r *Rule) setAction(word string) error {
	for _, a := range actions {
		if word != string(a.name) {
			continue
		}
		if r.When&a.at == 0 {
			return fmt.Errorf("%s has no effect at a %s", word, r.When)
		}
		r.Action = a.name
		return nil
	}
	return fmt.Errorf("%q is no action: one of %s", word, actionNames())
}

func (w When) String() string {
	switch w {
	case Checkpoint:
		return "checkpoint"
	case Restart:
		return "restart"
	}
	return "checkpoint or restart"
}

// conditions are the things a rule can be about, and what reads their values.
var conditions = []struct {
	name string
	add  func(r *Rule, value string, kinds []string) error
}{
	{"kind", (*Rule).addKind},
	{"path", (*Rule).addPath},
	{"fd", (*Rule).addFD},
	{"process", func(r *Rule, v string, _ []string) error { return addGlob(&r.Process, v) }},
	{"job", func(r *Rule, v string, _ []string) error { return addGlob(&r.Job, v) }},
	{"stream", (*Rule).addStream},
	{"local", func(r *Rule, v string, _ []string) error { return addAddress(&r.Local, v) }},
	{"peer", func(r *Rule, v string, _ []string) error { return addAddress(&r.Peer, v) }},
	{"direction", (*Rule).addDirection},
}

func conditionNames() string {
	var names []string
	for _, c := range conditions {
		names = append(names, c.name+"=")
	}
	return strings.Join(names, ", ")
}

// add takes one word after the action.
func (r *Rule) add(w rulefile.Word, kinds []string) error {
	key, value, ok := strings.Cut(w.Text, "=")
	switch {
	case w.Text == "all" && !w.Quoted:
		r.All = true
		return nil
	case !ok:
		return fmt.Errorf("%q is no condition: one of %s, or all", w.Text, conditionNames())
	case value == "":
		return fmt.Errorf("%s= has no value", key)
	case key == "to", key == "append":
		return r.setTo(key, value)
	}
	for _, c := range conditions {
		if c.name == key {
			return c.add(r, value, kinds)
		}
	}
	return fmt.Errorf("%q is no condition: one of %s, or all", key+"=", conditionNames())
}

func (r *Rule) setTo(key, value string) error {
	toEnd := key == "to" && (r.Action == Connect || r.Action == Bind)
	switch {
	case r.Action != Redirect && !toEnd:
		return fmt.Errorf("%s= goes with redirect, not with %s", key, r.Action)
	case r.To != "":
		return errors.New("to= or append= is given twice")
	case toEnd:
		r.To = value
		return checkEnd(value)
	case !path.IsAbs(value):
		return fmt.Errorf("%s=%s: the path must begin with /", key, value)
	}
	r.To, r.Append = value, key == "append"
	return nil
}

func (r *Rule) addKind(value string, kinds []string) error {
	g, err := NewGlob(value)
	if err != nil {
		return err
	}
	var all []string
	for _, k := range kinds {
		all = append(all, Words(k)...)
	}
	if !slices.ContainsFunc(all, g.Match) {
		slices.Sort(all)
		return fmt.Errorf("there is no kind %q: one of %s", value, strings.Join(all, ", "))
	}
	r.Kind = append(r.Kind, g)
	return nil
}

func (r *Rule) addPath(value string, _ []string) error {
	g, err := NewPathGlob(value)
	r.Path = append(r.Path, g)
	return err
}

// NewPathGlob reads a pattern for paths.
func NewPathGlob(pattern string) (Glob, error) {
	if strings.Contains(pattern, "/") && !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, "**/") {
		return Glob{}, fmt.Errorf("pattern %q: a path begins with / or **/; a pattern without / is for the last part", pattern)
	}
	return NewGlob(pattern)
}

func addGlob(to *[]Glob, value string) error {
	g, err := NewGlob(value)
	*to = append(*to, g)
	return err
}

func (r *Rule) addStream(value string, _ []string) error {
	if !slices.Contains(streams, value) {
		return fmt.Errorf("%q is no stream: one of %s", value, strings.Join(streams, ", "))
	}
	r.Stream = append(r.Stream, value)
	return nil
}

func (r *Rule) addFD(value string, _ []string) error {
	span, err := parseSpan(value, 30)
	if err != nil {
		return fmt.Errorf("fd=%w", err)
	}
	r.FD = append(r.FD, span)
	return nil
}

func addAddress(to *[]Address, value string) error {
	a, err := NewAddress(value)
	*to = append(*to, a)
	return err
}

func (r *Rule) addDirection(value string, _ []string) error {
	if !slices.Contains(directions, value) {
		return fmt.Errorf("%q is no direction: one of %s", value, strings.Join(directions, ", "))
	}
	r.Direction = append(r.Direction, value)
	return nil
}

// check is about the rule as a whole.
func (r *Rule) check() error {
	some := len(r.Kind)+len(r.Path)+len(r.FD)+len(r.Process)+len(r.Job)+len(r.Stream)+len(r.Local)+len(r.Peer)+len(r.Direction) > 0
	switch {
	case r.Action == Redirect && r.To == "":
		return errors.New("redirect needs to=PATH or append=PATH")
	case r.Action == Bind && r.To == "":
		return errors.New("bind needs to=ADDRESS")
	case r.Action == Inherit && len(r.Stream) == 0:
		return errors.New("inherit needs stream=stdin, stream=stdout or stream=stderr")
	case r.All && some:
		return errors.New("all goes without conditions")
	case !r.All && !some:
		return fmt.Errorf("%s what? Give conditions (%s), or all", r.Action, conditionNames())
	}
	return nil
}
