package main

import (
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/alecthomas/kong"

	"supervise/internal/usage"
)

// TestCompletions makes sure that completion knows what every flag and argument takes.
func TestCompletions(t *testing.T) {
	parser := newParser(new(cli), newOutput(io.Discard, io.Discard))
	var check func(node *kong.Node)
	check = func(node *kong.Node) {
		for _, f := range node.Flags {
			name := usage.Placeholder(f)
			if _, ok := completions[name]; !ok && !f.IsBool() && f.Enum == "" {
				t.Errorf("%s --%s=%s: completions has nothing for %s", node.FullPath(), f.Name, name, name)
			}
		}
		for _, a := range node.Positional {
			if _, ok := completions[a.Name]; !ok && a.Enum == "" {
				t.Errorf("%s <%s>: completions has nothing for %s", node.FullPath(), a.Name, a.Name)
			}
		}
		for _, child := range node.Children {
			if !child.Hidden {
				check(child)
			}
		}
	}
	check(parser.Model.Node)
}

// TestMan has groff read every page.
func TestMan(t *testing.T) {
	dir := t.TempDir()
	if code := run([]string{"man", dir}, io.Discard, io.Discard); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	for _, page := range pages {
		if out, err := exec.Command("groff", "-man", "-ww", "-z", page).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", page, err, out)
		}
	}
}
