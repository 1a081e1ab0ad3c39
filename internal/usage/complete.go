// Package usage makes of a kong model what helps people to type commands and
// to read about them: shell completion and man pages.
package usage

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Candidate is a word that may come next.
type Candidate struct {
	Word string
	Help string
}

// Place says what else may come next, for the shell to complete.
type Place string

// The places that a shell knows about.
const (
	Nothing  Place = "none"
	Files    Place = "files"
	Dirs     Place = "dirs"
	Commands Place = "commands"
)

// Values are what may be given for a flag or an argument.
type Values struct {
	Place Place
	Words []string // fixed ones

	// List gives those that depend on the flags given so far, by name.
	List func(flags map[string]string) []Candidate
}

// Completer knows a program.
type Completer struct {
	App *kong.Application

	// Values has an entry for each placeholder of a flag and each name of an
	// argument.
	Values map[string]Values
}

// line is a command line as far as it was typed.
type line struct {
	node    *kong.Node
	args    int               // arguments so far
	pending *kong.Flag        // it waits for its value
	flags   map[string]string // that were given
	rest    bool              // no more flags: after --, or in another command's line
}

// Complete gives what may stand in the place of the last word.
func (c *Completer) Complete(words []string) ([]Candidate, Place) {
	if len(words) == 0 {
		words = []string{""}
	}
	l := line{node: c.App.Node, flags: map[string]string{}}
	last := len(words) - 1
	for _, w := range words[:last] {
		l.take(w)
	}
	word := words[last]
	name, value, assigned := strings.Cut(word, "=")
	switch {
	case l.pending != nil:
		return c.values(Placeholder(l.pending), l.pending.Value, word, "", &l)
	case !l.rest && strings.HasPrefix(word, "--") && assigned:
		flag := l.flag(name)
		if flag == nil {
			return nil, Nothing
		}
		return c.values(Placeholder(flag), flag.Value, value, name+"=", &l)
	case !l.rest && strings.HasPrefix(word, "-"):
		return l.flagNames(word), Nothing
	}
	return c.argument(&l, word)
}

// take moves on by one word.
func (l *line) take(word string) {
	if l.pending != nil {
		l.flags[l.pending.Name], l.pending = word, nil
		return
	}
	if !l.rest && word == "--" {
		l.rest = true
		return
	}
	if !l.rest && len(word) > 1 && word[0] == '-' {
		name, value, assigned := strings.Cut(word, "=")
		flag := l.flag(name)
		switch {
		case flag == nil:
		case flag.IsBool() || flag.IsCounter() || assigned:
			l.flags[flag.Name] = value
		default:
			l.pending = flag
		}
		return
	}
	l.takeArgument(word)
}

func (l *line) takeArgument(word string) {
	for _, child := range l.node.Children {
		if l.args == 0 && (child.Name == word || slices.Contains(child.Aliases, word)) {
			l.node = child
			return
		}
	}
	if l.node.DefaultCmd != nil && l.args == 0 {
		l.node = l.node.DefaultCmd
	}
	if p := l.positional(); p != nil && p.PassthroughMode != kong.PassThroughModeNone {
		l.rest = true
	}
	l.args++
}

// positional is the argument that comes next, or nil.
func (l *line) positional() *kong.Positional {
	all := l.node.Positional
	if l.node.DefaultCmd != nil {
		all = l.node.DefaultCmd.Positional
	}
	switch n := len(all); {
	case l.args < n:
		return all[l.args]
	case n > 0 && all[n-1].IsCumulative():
		return all[n-1]
	}
	return nil
}

// visible lists the flags that may be given here.
func (l *line) visible() []*kong.Flag {
	var all []*kong.Flag
	node := l.node
	if node.DefaultCmd != nil {
		node = node.DefaultCmd
	}
	for _, group := range node.AllFlags(true) {
		all = append(all, group...)
	}
	return all
}

// flag finds a flag by --name or -n.
func (l *line) flag(word string) *kong.Flag {
	for _, f := range l.visible() {
		if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}

// flagNames are the flags that were not given yet.
func (l *line) flagNames(prefix string) []Candidate {
	var list []Candidate
	for _, f := range l.visible() {
		_, given := l.flags[f.Name]
		if word := "--" + f.Name; strings.HasPrefix(word, prefix) && (!given || f.IsSlice()) {
			list = append(list, Candidate{word, f.Help})
		}
	}
	return list
}

// argument completes a command or an argument.
func (c *Completer) argument(l *line, prefix string) ([]Candidate, Place) {
	var list []Candidate
	for _, child := range l.node.Children {
		if l.args == 0 && !child.Hidden && strings.HasPrefix(child.Name, prefix) {
			list = append(list, Candidate{child.Name, child.Help})
		}
	}
	p := l.positional()
	if p == nil {
		return list, Nothing
	}
	if l.args > 0 && p.PassthroughMode != kong.PassThroughModeNone {
		return nil, Files // arguments of another command
	}
	more, place := c.values(p.Name, p, prefix, "", l)
	return append(list, more...), place
}

// values lists what may be given for a value. before stands before it in the
// same word.
func (c *Completer) values(name string, v *kong.Value, prefix, before string, l *line) ([]Candidate, Place) {
	known := c.Values[name]
	var all []Candidate
	if v.Enum != "" {
		known.Words = v.EnumSlice()
	}
	for _, w := range known.Words {
		all = append(all, Candidate{Word: w})
	}
	if known.List != nil {
		all = append(all, known.List(l.flags)...)
	}
	var list []Candidate
	for _, cand := range all {
		if strings.HasPrefix(cand.Word, prefix) {
			list = append(list, Candidate{before + cand.Word, cand.Help})
		}
	}
	if known.Place == "" {
		known.Place = Nothing
	}
	return list, known.Place
}

// Placeholder is the name of a flag's value.
func Placeholder(f *kong.Flag) string {
	if f.PlaceHolder != "" {
		return f.PlaceHolder
	}
	return strings.Trim(f.FormatPlaceHolder(), `"`)
}
