package usage

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// model is a small command line.
type model struct {
	Version bool `help:"Print it."`

	Run struct {
		Name string   `placeholder:"N" help:"A name."`
		Cmd  []string `arg:"" passthrough:"partial"`
	} `cmd:"" help:"Run."`
	Take struct {
		Into  string   `placeholder:"DIR"`
		Save  []string `placeholder:"FILE"`
		Quick bool     `short:"q" help:"-q, and a backslash: \\."`
		How   string   `enum:"slow,fast" default:"fast"`
		Who   string   `arg:"" help:".begins with a dot"`
	} `cmd:"" help:"Take."`
	Images struct {
		List struct {
			Name string `arg:"" optional:""`
			All  bool
		} `cmd:"" default:"withargs" help:"List."`
		Remove struct {
			Who []string `arg:""`
		} `cmd:"" help:"Remove."`
	} `cmd:"" help:"Images."`
	Secret struct{} `cmd:"" hidden:""`
}

func newApp(t *testing.T) *kong.Application {
	t.Helper()
	k, err := kong.New(&model{}, kong.Name("prog"))
	if err != nil {
		t.Fatal(err)
	}
	return k.Model
}

func TestComplete(t *testing.T) {
	who := func(flags map[string]string) []Candidate {
		return []Candidate{{Word: "joe" + flags["into"]}, {Word: "jim"}, {Word: "ann"}}
	}
	c := Completer{App: newApp(t), Values: map[string]Values{
		"who": {List: who}, "name": {Words: []string{"one"}}, "cmd": {Place: Commands},
		"DIR": {Place: Dirs}, "FILE": {Place: Files, Words: []string{"null"}}, "N": {},
	}}
	for _, test := range []struct{ line, want string }{
		{"", "run take images none"},
		{"t", "take none"},
		{"-", "--help --version none"},
		{"take ", "joe jim ann none"},
		{"take j", "joe jim none"},
		{"take --", "--help --version --into --save --quick --how none"},
		{"take --into x -q --save y --", "--help --version --save --how none"},
		{"take --into ", "dirs"},
		{"take --into=", "dirs"},
		{"take --into x ", "joex jim ann none"},
		{"take --into=y ", "joey jim ann none"},
		{"take --how ", "slow fast none"},
		{"take --how=f", "--how=fast none"},
		{"take --save n", "null files"},
		{"take --save=", "--save=null files"},
		{"take --nothing=", "none"},
		{"take -- --", "none"},
		{"take joe ", "none"},
		{"run ", "commands"},
		{"run --name a ", "commands"},
		{"run -- ", "commands"},
		{"run ls ", "files"},
		{"run ls --n", "files"},
		{"images ", "list remove one none"},
		{"images one ", "none"},
		{"images --a", "--all none"},
		{"images list ", "one none"},
		{"images remove a b ", "joe jim ann none"},
		{"secret ", "none"},
	} {
		list, place := c.Complete(strings.Split(test.line, " "))
		var got []string
		for _, cand := range list {
			got = append(got, cand.Word)
		}
		if got = append(got, string(place)); strings.Join(got, " ") != test.want {
			t.Errorf("%q: %q, want %q", test.line, strings.Join(got, " "), test.want)
		}
	}
	if list, place := c.Complete(nil); len(list) != 3 || place != Nothing {
		t.Errorf("nothing at all: %v, %v", list, place)
	}
}

func FuzzComplete(f *testing.F) {
	f.Add("take --into x -")
	f.Fuzz(func(t *testing.T, line string) {
		c := Completer{App: newApp(t)}
		words := strings.Split(line, " ")
		list, _ := c.Complete(words)
		for _, cand := range list {
			if !strings.HasPrefix(cand.Word, words[len(words)-1]) {
				t.Errorf("%q: %q", line, cand.Word)
			}
		}
	})
}

func TestScript(t *testing.T) {
	for _, shell := range Shells {
		script, err := Script(shell, "prog")
		if err != nil || strings.Contains(script, "PROGRAM") || !strings.Contains(script, "prog __complete") {
			t.Errorf("%s: %v\n%s", shell, err, script)
		}
	}
	if _, err := Script("csh", "prog"); err == nil {
		t.Error("csh: no error")
	}
	var b strings.Builder
	if err := Print(&b, []Candidate{{"a", "two\nlines\tand"}}, Dirs); err != nil || b.String() != "a\ttwo lines and\n:dirs\n" {
		t.Errorf("%v: %q", err, b.String())
	}
}

func TestPages(t *testing.T) {
	m := Manual{App: newApp(t), Version: "v1", Summary: "does - things.", Intro: "One.\n\nTwo.",
		Sections: []Section{{Title: "EXIT STATUS", Items: []Item{{"0", "well"}}}}}
	pages := m.Pages()
	var names []string
	for name, text := range pages {
		names = append(names, name)
		lint(t, name, text)
	}
	slices.Sort(names)
	if want := []string{"prog-images.1", "prog-run.1", "prog-take.1", "prog.1"}; !slices.Equal(names, want) {
		t.Errorf("pages %q, want %q", names, want)
	}
	for name, wants := range map[string][]string{
		"prog.1": {".TH PROG 1 \"\" \"prog v1\"\n", "prog \\- does \\- things\n", ".PP\nTwo.\n", ".BR prog\\-take (1)\n", ".SH EXIT STATUS\n.TP\n.B 0\nwell\n"},
		"prog-take.1": {".I [OPTION]... WHO\n", "\\&.begins with a dot\n", ".BR \\-q \", \" \\-\\-quick\n\\-q, and a backslash: \\e.\n",
			".BR \\-\\-into = \\fIDIR\\fR\n"},
		"prog-images.1": {".B prog images list\n.I [OPTION]... [NAME]\n", ".SH PROG IMAGES REMOVE\n"},
	} {
		for _, want := range wants {
			if !strings.Contains(pages[name], want) {
				t.Errorf("%s has no %q:\n%s", name, want, pages[name])
			}
		}
	}
}

// lint has groff read a page.
func lint(t *testing.T, name, text string) {
	t.Helper()
	cmd := exec.Command("groff", "-man", "-ww", "-z")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}
