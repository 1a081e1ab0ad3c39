package plugins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestManifests(t *testing.T) {
	for _, test := range []struct{ text, wrong string }{
		{`{"command":["x"],"events":["frozen"]}`, ""},
		{`{"name":"n","command":["./x","y"],"events":["frozen","gone"],"deadline_ms":600000,"failure":"ignore","start":"event"}`, ""},
		{``, "EOF"},
		{`{"command":["x"],"events":["frozen"],"color":"red"}`, `unknown field "color"`},
		{`{"events":["frozen"]}`, "no command"},
		{`{"command":["x"]}`, "no events"},
		{`{"command":["x"],"events":["lunch"]}`, `there is no event "lunch"`},
		{`{"command":["x"],"events":["frozen"],"deadline_ms":600001}`, "deadline_ms is not within"},
		{`{"command":["x"],"events":["frozen"],"deadline_ms":-1}`, "deadline_ms is not within"},
		{`{"command":["x"],"events":["frozen"],"failure":"panic"}`, `failure is "panic"`},
		{`{"command":["x"],"events":["frozen"],"start":"never"}`, `start is "never"`},
	} {
		file := filepath.Join(t.TempDir(), "m.json")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := Load([]Spec{{File: file}, {Event: "resumed", Command: "true"}})
		switch {
		case test.wrong == "" && (err != nil || len(list) != 2):
			t.Errorf("%s: %v", test.text, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%s: %v, want %s", test.text, err, test.wrong)
		}
	}
}

func TestEnvironmentFile(t *testing.T) {
	t.Setenv("HERE", "x")
	file := filepath.Join(t.TempDir(), "env")
	write := func(text string) (*Plugin, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Environment(file)
	}
	p, err := write("# a comment\n\nA=b=c\n  B=$HERE${HERE}$NOT_HERE \nunset C\nD=\n")
	if err != nil {
		t.Fatal(err)
	}
	r := NewRunner([]*Plugin{p}, nil)
	if err := r.Event(testEvent("before-restart")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "b=c", "B": "xx", "D": ""} {
		if got := r.Changes.Environment[name]; got == nil || *got != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	if v, there := r.Changes.Environment["C"]; v != nil || !there {
		t.Errorf("C: %v %v", v, there)
	}
	for _, wrong := range []string{"A\n", "=b\n", "unset\n", "unset A=b\n", "A B=c\n"} {
		if _, err := write(wrong); err == nil || !strings.Contains(err.Error(), "env:1: ") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
