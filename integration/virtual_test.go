package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// killAnswerer kills the process that answers for a tree.
func (j *job) killAnswerer() {
	j.t.Helper()
	for _, pid := range descendants(j.cmd.Process.Pid) {
		if strings.HasPrefix(slurp(procPath(pid, "cmdline")), "supervise-answerer\x00") {
			j.p.kill(pid)
			wait(j.t, "death of the answerer", 5*time.Second, func() string {
				if state := statField(procPath(pid, "stat"), 3); state != "" && state != "Z" {
					return state
				}
				return ""
			})
			return
		}
	}
	j.t.Fatal("there is no answerer")
}

// TestVirtualSupervisorKilled: the program does not notice that its supervisor is
// killed, and neither does a snapshot.
func TestVirtualSupervisorKilled(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("virtual").virtualized("virtual.rules").rootOnly()
		j := p.start(prog)
		before := j.settle()
		j.killSupervisor()
		p.silent("snapshot", "job")
		expect(p.t, "after a snapshot without a supervisor", before, j.observe, always, detached)
		must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
		j.says("ok", 1)
		j.close()
	})
}

// TestVirtualAnswererKilled: calls that are named fail from then on, and are not
// answered by this host; a snapshot is taken all the same, and a restart answers.
func TestVirtualAnswererKilled(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("virtual").with("dead").virtualized("hostname.rules"))
		j.killAnswerer()
		must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
		j.says("ok", 1)
		j.ended()

		must(p.t, os.Remove(p.goFile()))
		must(p.t, os.Remove(p.logFile()))
		j = p.start(one("answered").with("dead").virtualized("answered.rules"))
		j.killAnswerer()
		must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
		j.says("ok", 1)
		j.ended()

		must(p.t, os.Remove(p.goFile()))
		must(p.t, os.Remove(p.logFile()))
		prog := one("virtual").with("alive").virtualized("hostname.rules")
		j = p.start(prog)
		before := j.settle()
		j.killAnswerer()
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		again := p.restart(prog, p.path("image"))
		again.like(before)
		again.finish(1)
	})
}

// TestVirtualAtRestart: rules that come with the restart are for programs that
// had none, and come before those that there are.
func TestVirtualAtRestart(t *testing.T) {
	forUsers(t, func(p *place) {
		for _, prog := range []program{one("virtual").with("late"), one("virtual").with("late").virtualized("other.rules")} {
			os.Remove(p.goFile())
			os.Remove(p.logFile())
			j := p.start(prog)
			j.settle()
			image := p.path("image") + prog.rules
			p.checkpoint(j.pid(), image, "--stop", "--dir", p.path("jobs"))
			j.gone()
			p.restart(prog, image, "--virtualize", filepath.Join(dataDir, "hostname.rules")).finish(1)
		}
	})
}

// TestVirtualRules: a file of rules is refused before anything is done.
func TestVirtualRules(t *testing.T) {
	forUsers(t, func(p *place) {
		rules := p.path("bad.rules")
		must(p.t, os.WriteFile(rules, []byte("hostname a\nhostnam b\nboot-id 7\n"), 0o644))
		r := p.supervise(nil, "run", "--virtualize", rules, "--", "touch", p.path("tmp/started"))
		for _, want := range []string{"bad.rules:2: ", "bad.rules:3: "} {
			if r.code == 0 || !strings.Contains(r.err, want) || strings.Contains(r.err, "bad.rules:1:") {
				p.t.Errorf("exit code %d, want %q in\n%s", r.code, want, r.err)
			}
		}
		if r := p.supervise(nil, "run", "--virtualize", filepath.Join(dataDir, "hostname.rules"), "--", "/nonexistent"); r.code != 127 {
			p.t.Errorf("a command that is not there: exit code %d\n%s", r.code, r.err)
		}
	})
}
