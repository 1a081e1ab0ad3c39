package policy

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

var kinds = []string{"path only (O_PATH)", "unlinked file or memfd", "regular file", "pipe or fifo", "inotify", "unix socket", "ipv4 socket"}

// TestErrors compares the messages on a file in which every line is wrong.
func TestErrors(t *testing.T) {
	const golden = "testdata/bad.golden"
	b, err := os.ReadFile("testdata/bad.policy")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse("bad.policy", string(b), kinds)
	if err == nil || p != nil {
		t.Fatalf("no error, and %v", p)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, readErr := os.ReadFile(golden)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if got := err.Error() + "\n"; got != string(want) {
		t.Errorf("the messages are\n%s\nwant\n%s", got, want)
	}
	for i, line := range strings.Split(string(b), "\n") {
		says := strings.Contains(err.Error(), fmt.Sprintf("bad.policy:%d: ", i+1))
		if says == (line == "" || line[0] == '#') {
			t.Errorf("line %d (%s): error is %v", i+1, line, says)
		}
	}
}

func TestFind(t *testing.T) {
	const text = `
# a comment
checkpoint save path=/var/lib/**     # and one behind
restart redirect path=/var/lib/app/* to=/srv/app/
close   path=*.lock process=worker fd=3-9 fd=12
ignore  kind=*-socket kind=inotify
redirect stream=stdout "path=/my logs/\"a\".log" to=/dev/null
fail    job=prod* kind=memfd
truncate path=/log/[a-c0]?.log
keep    peer=10.0.0.0/8:5432 direction=out
connect peer=/run/*.sock peer=@bus to=/run/new/bus
bind    local=*:80-89 direction=listen to=[::]:8080
hangup  peer=[fe80::/10] peer=::1
`
	p, err := Parse("f", text, kinds)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		at   When
		s    Subject
		want string
	}{
		{Checkpoint, Subject{Path: "/var/lib/app/db"}, "f:3"},
		{Restart, Subject{Path: "/var/lib/app/db"}, "f:4"},
		{Restart, Subject{Path: "/var/lib/app/sub/db"}, ""},
		{Restart, Subject{Path: "/run/a.lock", Process: "worker", FD: 3}, "f:5"},
		{Checkpoint, Subject{Path: "/run/a.lock", Process: "worker", FD: 12}, "f:5"},
		{Checkpoint, Subject{Path: "/run/a.lock", Process: "worker", FD: 10}, ""},
		{Checkpoint, Subject{Path: "/run/a.lock", Process: "workers", FD: 3}, ""},
		{Checkpoint, Subject{Path: "/run/a.lockk", Process: "worker", FD: 3}, ""},
		{Checkpoint, Subject{Kind: Words("unix socket")}, "f:6"},
		{Checkpoint, Subject{Kind: Words("regular file")}, ""},
		{Restart, Subject{Stream: "stdout", Path: `/my logs/"a".log`}, "f:7"},
		{Restart, Subject{Stream: "stdin", Path: `/my logs/"a".log`}, ""},
		{Restart, Subject{Job: "prod-1", Kind: Words("unlinked file or memfd")}, "f:8"},
		{Restart, Subject{Kind: Words("unlinked file or memfd")}, ""},
		{Restart, Subject{Path: "/log/b1.log"}, "f:9"},
		{Restart, Subject{Path: "/log/d1.log"}, ""},
		{Restart, Subject{Ends: Ends{Peer: "10.1.2.3:5432", Direction: "out"}}, "f:10"},
		{Restart, Subject{Ends: Ends{Peer: "[::ffff:10.1.2.3]:5432", Direction: "out"}}, "f:10"},
		{Restart, Subject{Ends: Ends{Peer: "10.1.2.3:5433", Direction: "out"}}, ""},
		{Restart, Subject{Ends: Ends{Peer: "10.1.2.3:5432", Direction: "in"}}, ""},
		{Restart, Subject{Ends: Ends{Peer: "11.1.2.3:5432", Direction: "out"}}, ""},
		{Restart, Subject{Ends: Ends{Peer: "/run/a.sock"}}, "f:11"},
		{Restart, Subject{Ends: Ends{Peer: "@bus"}}, "f:11"},
		{Restart, Subject{Ends: Ends{Local: "/run/a.sock"}}, ""},
		{Restart, Subject{Ends: Ends{Local: "0.0.0.0:85", Direction: "listen"}}, "f:12"},
		{Restart, Subject{Ends: Ends{Peer: "[fe80::1%eth0]:22"}}, "f:13"},
		{Restart, Subject{Ends: Ends{Peer: "[::1]:22"}}, "f:13"},
		{Restart, Subject{Ends: Ends{Peer: "[::2]:22"}}, ""},
	}
	for _, c := range cases {
		got := ""
		if _, r := p.Find(c.at, &c.s); r != nil {
			got = r.Origin
		}
		if got != c.want {
			t.Errorf("%v %+v: rule %q, want %q", c.at, c.s, got, c.want)
		}
	}
	first := Rule{Origin: "flag", When: Checkpoint, Action: Save, All: true}
	if _, r := p.With([]Rule{first}, nil).Find(Checkpoint, &Subject{}); r == nil || r.Origin != "flag" {
		t.Errorf("a rule put first: %v", r)
	}
	if _, r := (*Policy)(nil).Find(Restart, &Subject{}); r != nil {
		t.Errorf("no policy: %v", r)
	}
}

func TestGlob(t *testing.T) {
	cases := []struct {
		pattern, name string
		want          bool
	}{
		{"*.log", "/var/log/a.log", true},
		{"*.log", "a.log", true},
		{"/var/*.log", "/var/log/a.log", false},
		{"/var/**.log", "/var/log/a.log", true},
		{"/var/**/a.log", "/var/log/x/a.log", true},
		{"**/a.log", "/a.log", true},
		{"a?c", "abc", true},
		{"/a?c", "/a/c", false},
		{"[!a]x", "bx", true},
		{"/[!a]x", "//x", false},
		{"[]]", "]", true},
		{"[a-]", "-", true},
		{`\*`, "*", true},
		{`\*`, "x", false},
		{"é?", "éü", true},
		{"a.c", "abc", false},
		{"socket:*", "socket:[12]", true},
		{"*", "", false},
		{"*", "a\nb", true},
	}
	for _, c := range cases {
		g, err := NewGlob(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		} else if got := g.Match(c.name); got != c.want {
			t.Errorf("%s on %q: %v", c.pattern, c.name, got)
		}
	}
}

// naive is Glob.Match for patterns of letters, slashes, ?, * and **.
func naive(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case strings.HasPrefix(pattern, "**"):
		rest := strings.TrimLeft(pattern, "*")
		return naive(rest, name) || name != "" && naive(pattern, name[1:])
	case pattern[0] == '*':
		return naive(pattern[1:], name) || name != "" && name[0] != '/' && naive(pattern, name[1:])
	case name == "":
		return false
	case pattern[0] == '?':
		return name[0] != '/' && naive(pattern[1:], name[1:])
	}
	return pattern[0] == name[0] && naive(pattern[1:], name[1:])
}

func FuzzGlob(f *testing.F) {
	f.Add("/a/**/b*c?", "/a/x/y/bc1")
	f.Add("[", "x")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		g, err := NewGlob(pattern)
		if err != nil {
			return
		}
		got := g.Match(name)
		plain := func(r rune) bool { return !(r >= 'a' && r <= 'd' || strings.ContainsRune("/?*", r)) }
		if len(pattern) > 12 || len(name) > 12 || strings.ContainsFunc(pattern, plain) || strings.ContainsFunc(name, plain) ||
			!strings.Contains(pattern, "/") || name == "" {
			return
		}
		if want := naive(pattern, name); got != want {
			t.Errorf("%s on %s: %v", pattern, name, got)
		}
	})
}

// FuzzParse: whatever comes, each line is a rule, nothing, or an error with its number.
func FuzzParse(f *testing.F) {
	b, err := os.ReadFile("testdata/bad.policy")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add("checkpoint save path=\"/a b\" # c\n\nrestart close fd=3-7 process=x*")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("f", text, kinds)
		if err != nil {
			if p != nil || !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("%v, and %v", err, p)
			}
			return
		}
		if lines := strings.Count(text, "\n") + 1; len(p.Rules) > lines {
			t.Errorf("%d rules on %d lines", len(p.Rules), lines)
		}
		for i := range p.Rules {
			r := &p.Rules[i]
			if r.When == 0 || r.Action == "" || (r.To != "") != (r.Action == Redirect) {
				t.Errorf("rule %+v", r)
			}
		}
		p.Find(Restart, &Subject{Path: "/a", FD: 3})
	})
}
