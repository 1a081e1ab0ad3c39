package main

import (
	"io"
	"slices"
	"testing"
)

// TestGrammarOf makes sure that each command is parsed by a grammar of its own,
// to the same end as by that of all, and that help is about all.
func TestGrammarOf(t *testing.T) {
	out := newOutput(io.Discard, io.Discard)
	for _, args := range [][]string{
		{"run", "--name", "n", "--", "prog", "-x"}, {"attach", "1"}, {"checkpoint", "1", "--stop"}, {"snapshot", "1", "--keep", "2"},
		{"restart", "image", "--detach"}, {"request", "status"}, {"ps"}, {"images", "remove", "a@1"}, {"inspect", "a"}, {"verify", "a"},
		{"check", "--json"}, {"demo"}, {"completion", "bash"}, {"man", "dir"},
	} {
		command := grammarOf(args)
		if command == nil {
			t.Errorf("%v: no grammar", args)
			continue
		}
		alone, err := newParser(command, out).Parse(args)
		if err != nil {
			t.Errorf("%v: %v", args, err)
			continue
		}
		all, err := newParser(new(cli), out).Parse(args)
		if err != nil || alone.Command() != all.Command() || !slices.Equal(alone.Args, all.Args) {
			t.Errorf("%v is %q, %v; alone %q", args, all.Command(), err, alone.Command())
		}
		if grammarOf(append(args, "--help")) != nil {
			t.Errorf("%v --help: only part of the grammar", args)
		}
	}
	for _, args := range [][]string{nil, {"--version"}, {"nosuch"}, {"Version"}} {
		if grammarOf(args) != nil {
			t.Errorf("%v: a grammar", args)
		}
	}
}
