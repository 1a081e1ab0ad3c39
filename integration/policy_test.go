package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ruled is a case of TestPolicy: what rules make of the program of that name.
// WORK in rules stands for its directory.
type ruled struct {
	name       string
	program    []string // arguments
	checkpoint string   // policy
	restart    string   // policy
	args       []string // of the restart
	between    func(p *place)
	lines      []string          // that the program must say; patterns
	never      []string          // that it must not
	after      map[string]string // content of files in the end
	left       []string          // what checkpoint --json must list: fd and action
}

const noFaults = "ignore kind=userfaultfd\n"

var ruledCases = []ruled{
	{
		name:       "ignore",
		checkpoint: "# two of them\nignore kind=user*fd # both\n",
		lines:      []string{"root 13 /dev/null at 0 flags 0", "root 14 /dev/null.*", "kid 13 /dev/null.*", "root 10 WORK/log at .*"},
		after:      map[string]string{"log": "before\nafter\n"},
		left:       []string{"13 ignore", "14 ignore", "13 ignore", "14 ignore"},
	},
	{
		name:       "ignore all",
		checkpoint: "ignore all\n",
		lines:      []string{"root 13 /dev/null.*", "root 11 WORK/db at 4 flags 2"},
		left:       []string{"13 ignore", "14 ignore", "13 ignore", "14 ignore"},
	},
	{
		name:       "ignore in flight",
		program:    []string{"flight"},
		checkpoint: noFaults,
		lines:      []string{"root 14 /dev/null.*", "root 19 /dev/null.*"},
		left:       []string{"13 ignore", "14 ignore", "13 ignore", "14 ignore"},
	},
	{
		name:       "close",
		checkpoint: "close kind=userfaultfd\nclose fd=11-12 process=kid\nclose path=lock\nclose fd=18",
		lines:      []string{"root 11 .*", "root 17 pipe:.*", "kid 17 pipe:.*"},
		never:      []string{".* 13 .*", ".* 14 .*", "kid 11 .*", ".* 12 .*", ".* 18 .*"},
		left:       []string{"12 close", "13 close", "14 close", "18 close", "11 close", "12 close", "13 close", "14 close"},
	},
	{
		name:       "redirect at the checkpoint",
		checkpoint: noFaults + "redirect path=WORK/log to=WORK/log2\nredirect fd=11 to=WORK/dbs/\n",
		between: func(p *place) {
			must(p.t, os.Mkdir(p.path("work/dbs"), 0o755))
			must(p.t, os.WriteFile(p.path("work/dbs/db"), []byte("ab"), 0o666))
			must(p.t, os.Chmod(p.path("work/dbs/db"), 0o666))
			must(p.t, os.Remove(p.path("work/log")))
		},
		lines: []string{"root 10 WORK/log2 at 0 flags 2001", "root 11 WORK/dbs/db at 2 flags 2", "kid 11 WORK/dbs/db at 2 flags 2"},
		after: map[string]string{"log2": "after\n"},
	},
	{
		name:       "taken back at the restart",
		checkpoint: noFaults + "redirect path=log to=WORK/log2\nsave path=db",
		restart:    "reopen path=log\nreopen path=db\n",
		between:    func(p *place) { must(p.t, os.WriteFile(p.path("work/db"), []byte("now"), 0o666)) },
		lines:      []string{"root 10 WORK/log .*", "root 11 WORK/db at 4 .*"},
		after:      map[string]string{"log": "before\nafter\n", "db": "now"},
	},
	{
		name:       "at the restart",
		checkpoint: noFaults,
		restart:    "close path=**/lock process=kid\nredirect kind=pipe to=/dev/null\nredirect path=WORK/log append=WORK/other\nredirect kind=userfaultfd to=/dev/zero\n",
		between: func(p *place) {
			must(p.t, os.WriteFile(p.path("work/other"), []byte("one\n"), 0o666))
			must(p.t, os.Chmod(p.path("work/other"), 0o666))
		},
		lines: []string{"root 12 .*", "root 17 /dev/null .*", "root 13 /dev/zero .*", "root 14 /dev/zero .*"},
		never: []string{"kid 12 .*"},
		after: map[string]string{"log": "before\n", "other": "one\nafter\n"},
	},
	{
		name:       "save",
		program:    []string{"mapped"},
		checkpoint: noFaults + "save path=db\nsave path=log\n",
		between: func(p *place) {
			must(p.t, os.WriteFile(p.path("work/db"), []byte("changed and longer"), 0o666))
			must(p.t, os.Remove(p.path("work/log")))
		},
		lines: []string{"root 10 WORK/log at 7 flags 2001", "root 11 WORK/db at 4 flags 2", "kid 11 WORK/db at 4 flags 2"},
		after: map[string]string{"log": "before\nafter\n", "db": "snapshot" + strings.Repeat("\x00", 4096-8)},
	},
	{
		name:       "ignore at the restart",
		checkpoint: noFaults,
		restart:    "ignore path=WORK/**\n",
		between: func(p *place) {
			must(p.t, os.Remove(p.path("work/log")))
			must(p.t, os.Truncate(p.path("work/db"), 3))
		},
		lines: []string{"root 10 /dev/null .*", "root 11 /dev/null .*", "kid 11 /dev/null .*", "root 12 WORK/lock .*"},
	},
	{
		name:       "truncate",
		checkpoint: noFaults,
		args:       []string{"--truncate-files"},
		between:    func(p *place) { p.appendTo("work/log", "more\n"); p.appendTo("work/lock", "x") },
		lines:      []string{"root 10 WORK/log at 7 flags 2001"},
		after:      map[string]string{"log": "before\nafter\n", "lock": ""},
	},
	{
		name:       "grown",
		checkpoint: noFaults,
		between:    func(p *place) { p.appendTo("work/log", "more\n") },
		lines:      []string{"root 10 WORK/log at 7 flags 2001"},
		after:      map[string]string{"log": "before\nmore\nafter\n"},
	},
	{
		name:       "streams",
		checkpoint: noFaults,
		args:       []string{"--stdout", "out", "--stderr", "null", "--stdin", "db"},
		between: func(p *place) {
			must(p.t, os.WriteFile(p.path("work/out"), []byte("old\n"), 0o666))
			must(p.t, os.Chmod(p.path("work/out"), 0o666))
		},
		lines: []string{"root 11 .*"},
		after: map[string]string{"out": "old\nout\n"},
	},
}

func (p *place) appendTo(name, text string) {
	f, err := os.OpenFile(p.path(name), os.O_WRONLY|os.O_APPEND, 0)
	must(p.t, err)
	_, err = f.WriteString(text)
	must(p.t, err)
	must(p.t, f.Close())
}

// policyFile writes a policy and gives the flags that name it.
func (p *place) policyFile(name, rules string) []string {
	if rules == "" {
		return nil
	}
	must(p.t, os.WriteFile(p.path(name), []byte(strings.ReplaceAll(rules, "WORK", p.path("work"))), 0o644))
	return []string{"--policy", p.path(name)}
}

// TestPolicy checks what becomes of descriptors by rules.
func TestPolicy(t *testing.T) {
	for _, c := range ruledCases {
		t.Run(c.name, func(t *testing.T) {
			forUsers(t, c.check)
		})
	}
}

func (c *ruled) check(p *place) {
	prog := one("ruled").with(c.program...)
	j := p.start(prog)
	before := j.settle()
	args := append([]string{"checkpoint", j.pid(), "--image", p.path("image"), "--json"}, p.policyFile("at-checkpoint", c.checkpoint)...)
	r := p.supervise(nil, args...)
	if r.code != 0 || r.err != "" {
		p.t.Fatalf("checkpoint: exit code %d\n%s", r.code, r.err)
	}
	j.undisturbed(before)
	if c.left != nil {
		c.checkLeft(p, r.out)
	}
	j.killTree()
	j.close()
	if c.between != nil {
		c.between(p)
	}
	again := p.restart(prog, p.path("image"), append(p.policyFile("at-restart", c.restart), c.args...)...)
	again.finish(1)
	c.checkLines(p)
	for name, want := range c.after {
		if got := slurp(p.path("work/" + name)); got != want {
			p.t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	if stale, _ := filepath.Glob(p.path("work/.*")); len(stale) > 0 {
		p.t.Errorf("left behind: %v", stale)
	}
}

func (c *ruled) checkLeft(p *place, out string) {
	var facts struct {
		LeftOut []struct {
			FD                 json.Number
			Action, Kind, Rule string
		} `json:"left_out"`
	}
	must(p.t, json.Unmarshal([]byte(out), &facts))
	var got []string
	for _, l := range facts.LeftOut {
		got = append(got, l.FD.String()+" "+l.Action)
		if !strings.HasPrefix(l.Rule, p.path("at-checkpoint:")) || l.Kind == "" {
			p.t.Errorf("left out: %+v", l)
		}
	}
	if !slices.Equal(got, c.left) {
		p.t.Errorf("left out: %q, want %q", got, c.left)
	}
}

func (c *ruled) checkLines(p *place) {
	said := strings.Split(slurp(p.logFile()), "\n")
	says := func(pattern string) bool {
		re := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "WORK", regexp.QuoteMeta(p.path("work"))) + "$")
		return slices.ContainsFunc(said, re.MatchString)
	}
	for _, l := range c.lines {
		if !says(l) {
			p.t.Errorf("it does not say %q:\n%s", l, strings.Join(said, "\n"))
		}
	}
	for _, l := range c.never {
		if says(l) {
			p.t.Errorf("it says %q:\n%s", l, strings.Join(said, "\n"))
		}
	}
}

// TestPolicyRefuses checks what rules forbid, and policies that are none.
func TestPolicyRefuses(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("ruled")
		j := p.start(prog)
		before := j.settle()
		for _, c := range []struct {
			rules string
			code  int
			says  []string
		}{
			{"", 3, []string{"waiting faults"}},
			{"ignore kind=other-ipv4-socket", 3, []string{"waiting faults"}},
			{"close fd=13", 3, []string{"fd 14"}},
			{noFaults + "fail path=db", 3, []string{"fd 11", "a rule says so", "policy:2"}},
			{"ignroe all\nclose path=/a[", 2, []string{`policy:1: "ignroe" is no action`, `policy:2: pattern "/a[": [ without ]`}},
		} {
			r := p.supervise(nil, append([]string{"checkpoint", j.pid(), "--image", p.path("image")}, p.policyFile("policy", c.rules)...)...)
			if r.code != c.code {
				p.t.Errorf("%q: exit code %d, want %d", c.rules, r.code, c.code)
			}
			for _, s := range c.says {
				if !strings.Contains(r.err, s) {
					p.t.Errorf("%q: the message has no %q: %s", c.rules, s, r.err)
				}
			}
			j.undisturbed(before)
		}
		p.nothingIn("image")
		p.checkpoint(j.pid(), p.path("image"), p.policyFile("policy", noFaults+"save path=log\nsave path=lock")...)
		j.killTree()
		j.close()
		must(p.t, os.WriteFile(p.path("work/log"), []byte("now"), 0o666))
		r := p.supervise(nil, append([]string{"restart", p.path("image")}, p.policyFile("policy", "fail path=db")...)...)
		if r.code != 5 || !strings.Contains(r.err, "a rule says fail for "+p.path("work/db")) {
			p.t.Errorf("restart: exit code %d: %s", r.code, r.err)
		}
		p.failsLate(prog)
	})
}

// TestPolicyFlight refuses what rules close everywhere, and what is also in a message.
func TestPolicyFlight(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("ruled").with("flight")
		j := p.start(prog)
		before := j.settle()
		r := p.supervise(nil, append([]string{"checkpoint", j.pid(), "--image", p.path("image")}, p.policyFile("policy", "close kind=userfaultfd\n")...)...)
		if r.code != 3 || !strings.Contains(r.err, "fd 14") || strings.Contains(r.err, "fd 13") {
			p.t.Errorf("exit code %d: %s", r.code, r.err)
		}
		p.nothingIn("image")
		j.undisturbed(before)
		j.finish(1)
	})
}

// failsLate checks that a restart that fails leaves files as they are.
func (p *place) failsLate(prog program) {
	must(p.t, os.Remove(p.path("work/lock")))
	for _, fault := range []string{"fail:skeleton", "fail:threads", "fail:release", "kill:fill"} {
		if r := p.supervise([]string{"SUPERVISE_FAULT=" + fault}, "restart", p.path("image")); r.code == 0 {
			p.t.Errorf("%s: it does not fail", fault)
		}
		if got := slurp(p.path("work/log")); got != "now" {
			p.t.Errorf("%s: the file to be brought back has %q", fault, got)
		}
		if _, err := os.Stat(p.path("work/lock")); err == nil {
			p.t.Errorf("%s: a file is brought back", fault)
		}
		if stale, _ := filepath.Glob(p.path("work/.*")); len(stale) > 0 && fault != "kill:fill" {
			p.t.Errorf("%s: left behind: %v", fault, stale)
		}
	}
	again := p.restart(prog, p.path("image"))
	again.finish(1)
	if got := slurp(p.path("work/log")); got != "before\nafter\n" {
		p.t.Errorf("the file has %q", got)
	}
	if stale, _ := filepath.Glob(p.path("work/.*")); len(stale) > 0 {
		p.t.Errorf("left behind: %v", stale)
	}
}

// TestPolicyOfJob starts a job with a policy that its snapshots go by.
func TestPolicyOfJob(t *testing.T) {
	forUsers(t, func(p *place) {
		flags := p.policyFile("policy", noFaults+"save path=db\n")
		must(p.t, os.Chown(flags[1], p.user.uid, p.user.uid))
		prog := one("ruled").supervised()
		prog.supervise = flags
		j := p.start(prog)
		j.settle()
		if r := p.supervise(nil, "checkpoint", "job", "--stop"); r.code != 0 {
			p.t.Fatalf("exit code %d: %s", r.code, r.err)
		}
		j.gone()
		must(p.t, os.Remove(p.path("work/db")))
		must(p.t, os.Rename(flags[1], flags[1]+".away"))
		p.fails(2, "hint: --policy names another, and --policy /dev/null none", "restart", "job")
		must(p.t, os.Rename(flags[1]+".away", flags[1]))
		again := p.restart(prog, "job") // goes by the policy, and keeps it
		must(p.t, os.Chmod(flags[1], 0o666))
		if r := p.supervise(nil, "checkpoint", "job"); r.code != 2 || !strings.Contains(r.err, "only you or root can write to") {
			p.t.Errorf("a policy that anybody can write to: exit code %d: %s", r.code, r.err)
		}
		must(p.t, os.WriteFile(flags[1], []byte("sav all\n"), 0o644))
		must(p.t, os.Chmod(flags[1], 0o644))
		if r := p.supervise(nil, "checkpoint", "job"); r.code != 2 || !strings.Contains(r.err, flags[1]+":1: ") {
			p.t.Errorf("a policy that is none: exit code %d: %s", r.code, r.err)
		}
		must(p.t, os.WriteFile(flags[1], []byte("fail fd=16\n"), 0o644))
		if r := p.supervise(nil, "checkpoint", "job"); r.code != 3 || !strings.Contains(r.err, "fd 16") {
			p.t.Errorf("the policy after the restart: exit code %d: %s", r.code, r.err)
		}
		again.finish(1)
	})
}

// TestPolicyJava does without the socket of a Java machine that has run a compiler,
// which it keeps to put in the place of sockets that it closes.
func TestPolicyJava(t *testing.T) {
	p := newPlace(t, users()[len(users())-1])
	prog := program{name: "java source", how: rootOnly, lead: true, argv: func() []string {
		return append(slices.Clone(javaFlags), filepath.Join(dataDir, "java", "Threads.java"))
	}}
	j := p.start(prog)
	p.checkpoint(j.pid(), p.path("image"), append(p.policyFile("policy", "redirect kind=unix-socket to=/dev/null\n"), "--stop")...)
	j.gone()
	again := p.restart(prog, p.path("image"))
	again.finish(1)
}
