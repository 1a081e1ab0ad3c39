package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supervise/plugins/client"
)

// TestSignals: a program gets ready when it is told to by a signal, and goes on
// when it is told to, in the original and in copies, over three generations; by a
// handler, and by making a file. Whoever takes the snapshot.
func TestSignals(t *testing.T) {
	for _, how := range []string{"handler", "file"} {
		t.Run(how, func(t *testing.T) {
			forUsers(t, func(p *place) {
				file := p.path("work/ready")
				prog, before := one("quiesce"), "USR1"
				if how == "file" {
					prog, before = prog.with(file), "SIGUSR1:20s:"+file
				}
				prog = prog.under("--signal-before", before, "--signal-after", "USR2")
				j := p.start(prog)
				for n := range 3 {
					p.ok("checkpoint", "job")
					j.says(fmt.Sprintf("on %d", n+1), 1)
					j.killTree()
					j.close()
					j = p.restart(prog, "job")
					j.says(fmt.Sprintf("on %d", n+1), 2)
				}
				j.finish(1)
				if _, err := os.Lstat(file); err == nil {
					t.Errorf("%s is left behind", file)
				}
				// As from cron, of a tree without a supervisor.
				must(t, os.Remove(p.goFile()))
				must(t, os.Remove(p.logFile()))
				prog.run = false
				j = p.start(prog)
				p.ok("snapshot", j.pid(), "--name", "cron", "--signal-before", before, "--signal-after", "USR2")
				j.says("on 1", 1)
				j.killTree()
				j.close()
				j = p.restart(prog, "cron")
				j.says("on 1", 2)
				j.finish(1)
			})
		})
	}
}

// TestSignalsFail: a program that does not get ready, or would be ended by the
// signal, goes on, and there is no snapshot.
func TestSignalsFail(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		p.fails(1, "has no handler for SIGUSR1", "checkpoint", "job", "--signal-before", "USR1")
		p.fails(2, "is no signal", "checkpoint", "job", "--signal-before", "KILL")
		p.fails(2, "is no time", "checkpoint", "job", "--signal-before", "USR1:soon")
		p.fails(2, "is nothing that can be excluded", "checkpoint", "job", "--exclude", "everything")
		j.undisturbed(before)
		j.finish(1)
		must(t, os.Remove(p.goFile()))
		must(t, os.Remove(p.logFile()))
		j = p.start(one("quiesce").supervised())
		p.fails(1, "has not handled SIGUSR1 within 30ms", "checkpoint", "job", "--signal-before", "USR1:30ms")
		p.fails(1, "has not made "+p.path("never")+" within 1s", "checkpoint", "job", "--signal-before", "USR1:1s:"+p.path("never"), "--signal-after", "USR2")
		j.says("on 1", 1) // it goes on though there is no snapshot
		if n := p.newest("job"); n != 0 {
			t.Errorf("there is a snapshot %d", n)
		}
		j.finish(1)
	})
}

// TestDontdump: memory that the program has marked is left out where that is
// asked for, and comes back as zeros; otherwise it is kept.
func TestDontdump(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("dontdump").supervised())
		p.ok("checkpoint", "job")
		p.ok("checkpoint", "job", "--exclude", "dontdump")
		excludes := p.plugin("excludes", `"events":["frozen"]`, `for e in events(): reply(e, exclude=["dontdump"])`)
		p.ok("checkpoint", "job", "--stop", "--plugin", excludes)
		j.gone()
		size := func(n int) int64 {
			var facts struct {
				Manifest struct {
					Summary struct {
						PageBytes int64 `json:"page_bytes"`
					}
				}
			}
			must(t, json.Unmarshal([]byte(p.ok("inspect", fmt.Sprintf("job@%04d", n), "--json")), &facts))
			return facts.Manifest.Summary.PageBytes
		}
		if less := size(1) - size(2); less < 15<<20 || less > 17<<20 {
			t.Errorf("%d bytes are left out", less)
		}
		for n, want := range []string{"kept", "zeros", "zeros"} {
			must(t, os.WriteFile(p.goFile(), []byte(want+"\n"), 0o644))
			again := p.restart(j.prog, fmt.Sprintf("job@%04d", n+1))
			again.says("ok", n+1)
			again.ended()
		}
	})
}

// logLine is a line of restart --log.
type logLine struct {
	What       string
	Job        string
	Generation *int
	Processes  int
	Process    *client.Process
	Descriptor *client.File
	Change     string
}

// TestRestoreLog: what is restored, and what becomes of it, is noted in a file.
func TestRestoreLog(t *testing.T) {
	forUsers(t, func(p *place) {
		s := newServer(p.t)
		kept, moved, lost := p.path("work/kept"), p.path("work/moved"), p.path("work/lost")
		for _, path := range []string{kept, moved, moved + "2", lost} {
			s.listen("unix", path)
			must(t, os.Chmod(path, 0o777))
		}
		prog := one("callers").with("unix:"+kept, "unix:"+moved, "unix:"+lost).under("--plugin", p.translator())
		j := p.start(prog)
		p.ok("checkpoint", "job", "--stop")
		j.gone()
		p.translations(map[string]any{"paths": map[string]string{moved: moved + "2"}, "environment": map[string]any{"NEW": "x", "TMPDIR": nil}})
		log := p.path("work/log")
		rules := p.policyFile("rules", "connect peer="+kept+"\nclose stream=stdin\nredirect stream=stderr to=/dev/null\n")
		again := p.restart(prog, "job", append(rules, "--log", log)...)
		var what []string
		becomes := map[string]string{}
		for line := range strings.Lines(slurp(log)) {
			var l logLine
			must(t, json.Unmarshal([]byte(line), &l))
			what = append(what, l.What)
			switch {
			case l.Process != nil && l.Process.Name != "callers":
				t.Errorf("a process %+v", *l.Process)
			case l.Descriptor != nil && l.Descriptor.Becomes != "":
				d := l.Descriptor
				becomes[fmt.Sprintf("%s %s", d.Kind, filepath.Base(d.Peer))] = d.Becomes + " by " + d.By
			case l.What == "change":
				becomes[l.Change] = "changed"
			case l.Generation != nil && (*l.Generation != 1 && l.What == "restarted" || l.Job != "job"):
				t.Errorf("%s", line)
			}
		}
		for _, want := range [][2]string{
			{"unix socket kept", "connected anew to " + kept + " by " + p.path("rules") + ":1"},
			{"unix socket moved2", "connected anew to " + moved + "2 by a plugin"},
			{"unix socket lost", "reset by "},
			{"redirected by a policy .", "/dev/null by " + p.path("rules") + ":3"},
			{"environment NEW=x", "changed"}, {"environment: no TMPDIR", "changed"}, {"path " + moved + " is " + moved + "2", "changed"},
		} {
			if becomes[want[0]] != want[1] {
				t.Errorf("%s: %q, want %q", want[0], becomes[want[0]], want[1])
			}
		}
		closed := false
		for _, b := range becomes {
			closed = closed || b == "closed by "+p.path("rules")+":2"
		}
		if !closed || len(what) < 5 || what[0] != "restored" || what[1] != "process" || what[len(what)-1] != "restarted" {
			t.Errorf("the log has %v; %v", what, becomes)
		}
		p.fails(125, "no such file", "restart", "job", "--log", "/nonexistent/log")
		again.killTree()
		again.close()
	})
}

// TestFacts: plugins are told what a snapshot holds, in lists of bounded size.
func TestFacts(t *testing.T) {
	forUsers(t, func(p *place) {
		facts := p.plugin("facts", allEvents, `
for e in events():
    o = e["snapshot"].get("objects")
    if o:
        note(f"{e['event']} {o['processes']} {o['threads']} {sum(o['descriptors'].values())} {len(o['files'])} {len(o['tree'])} {o.get('more', False)} {o['tree'][0]['name']}")
    else:
        note(f"{e['event']} -")
    reply(e)
`)
		prog := one("pipes").under("--plugin", facts)
		j := p.start(prog)
		p.ok("checkpoint", "job", "--stop")
		j.gone()
		j = p.restart(prog, "job")
		j.finish(1)
		told := strings.Split(strings.TrimSpace(slurp(filepath.Join(p.logs, "told"))), "\n")
		var tree []string
		for _, line := range told {
			event, what, _ := strings.Cut(line, " ")
			switch known := event != "before-freeze" && event != "frozen" && event != "before-restart"; {
			case event == "gone":
			case known != (what != "-"):
				t.Errorf("told: %s", line)
			case known:
				tree = append(tree, what)
			}
		}
		if len(tree) != 4 {
			t.Errorf("told: %v", told)
		}
		for _, what := range tree {
			if what != tree[0] || !strings.HasSuffix(what, "False pipes") {
				t.Errorf("told %s after %s", what, tree[0])
			}
		}

		must(t, os.Remove(filepath.Join(p.logs, "told")))
		must(t, os.Remove(p.goFile()))
		must(t, os.Remove(p.logFile()))
		many := p.start(one("manyfds"))
		p.ok("checkpoint", many.pid(), "--image", p.path("many"), "--plugin", facts)
		if told := p.told(); !strings.Contains(told, fmt.Sprintf(" %d 5 True manyfds", client.Most)) {
			t.Errorf("of many: %s", told)
		}
		many.finish(1)
	})
}
