package integration

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestIDs: where a tree gets its ids is as it was told to restart, or it is refused.
func TestIDs(t *testing.T) {
	forUsers(t, func(p *place) {
		space := func(pid int) string {
			link, err := os.Readlink(procPath(pid, "ns/pid"))
			must(t, err)
			return link
		}
		ours := space(os.Getpid())
		j := p.start(one("ids"))
		before, old := j.settle(), j.root
		image := p.path("image")
		p.checkpoint(j.pid(), image)
		if p.user.uid == 0 {
			p.fails(5, "in this pid namespace: taken: ", "restart", image, "--ids=keep", "--detach")
		}
		j.killTree()
		j.close()
		if p.user.uid != 0 {
			p.fails(5, "only CAP_SYS_ADMIN may choose ids here", "restart", image, "--ids=keep", "--detach")
		}
		for _, how := range []string{"keep", "namespace", "auto"} {
			if how == "keep" && p.user.uid != 0 {
				continue
			}
			j = p.restart(j.prog, image, "--ids="+how)
			j.like(before)
			own := how == "namespace" || p.user.uid != 0
			if got := space(j.root) != ours; got != own || j.root == old == own {
				t.Errorf("--ids=%s: pid %d, was %d, in a namespace of its own: %v", how, j.root, old, got)
			}
			j.killTree()
			j.close()
		}
	})
}

// unprivileged has a command run without CAP_SYS_ADMIN, which root has. It makes no
// user namespace either: translating ids must do without both.
func unprivileged(p *place, argv ...string) []string {
	if p.user.uid == 0 {
		return append([]string{"/usr/bin/setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"}, argv...)
	}
	return argv
}

// translated restarts an image so that its ids are translated.
func (p *place) translated(prog program, image string, args ...string) *job {
	p.t.Helper()
	pidFile := p.path("pid" + strconv.FormatInt(time.Now().UnixNano(), 36))
	argv := append(unprivileged(p, supervise, "restart", image, "--ids=translate", "--pid-file", pidFile), args...)
	j := &job{holder: p.hold(launch{argv: argv}), p: p, prog: prog}
	wait(p.t, "restart", 60*time.Second, func() string {
		j.root, _ = strconv.Atoi(strings.TrimSpace(slurp(pidFile)))
		if j.root != 0 {
			return ""
		}
		if s, ok := j.exited(j.child); ok {
			p.t.Fatalf("restart: exit code %d\n%s", shellStatus(s), j.out.String())
		}
		return "no pid file"
	})
	for _, ns := range []string{"pid", "user"} {
		theirs, err := os.Readlink(procPath(j.root, "ns/"+ns))
		must(p.t, err)
		if ours, _ := os.Readlink("/proc/self/ns/" + ns); ours != theirs {
			p.t.Errorf("the tree is in a %s namespace of its own", ns)
		}
	}
	return j
}

// TestIDsTranslated: a tree whose ids are taken sees them all the same, without privilege
// or namespaces, and so do its own restarts, translated or not.
func TestIDsTranslated(t *testing.T) {
	for _, name := range []string{"translated", "ids", "threads", "groups", "pidfds", "zombies", "stopped", "ptimers", "sigqueue", "join", "daemon", "leader"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forUsers(t, func(p *place) {
				prog := one(name)
				compiled := prog.argv
				prog.argv = func() []string { return unprivileged(p, compiled()...) }
				prog.run = name == "daemon" // its orphan is to be found
				first := p.start(prog)
				first.says("ready", 1)
				p.checkpoint(first.pid(), p.path("1"), "--dir", p.path("jobs"))
				second := p.translated(prog, p.path("1"))
				p.checkpoint(second.pid(), p.path("2"), "--dir", p.path("jobs"))
				third := p.translated(prog, p.path("2"))
				if first.root == second.root || second.root == third.root {
					t.Errorf("pids %d, %d, %d", first.root, second.root, third.root)
				}
				p.checkpoint(third.pid(), p.path("3"), "--dir", p.path("jobs"))
				for _, j := range []*job{first, second, third} {
					j.killTree()
					j.close()
				}
				fourth := p.translated(prog, p.path("3"))
				fourth.finish(1)
				must(t, os.Remove(p.goFile()))
				must(t, os.Remove(p.logFile()))
				p.restart(prog, p.path("3")).finish(1)
			})
		})
	}
}

// TestTranslatorKilled: calls about ids fail when who answers them is killed, at once
// and in the middle of one, and never tell another id. A restart answers again.
func TestTranslatorKilled(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("translated").with("dead")
		compiled := prog.argv
		prog.argv = func() []string { return unprivileged(p, compiled()...) }
		first := p.start(prog)
		first.says("ready", 1)
		p.checkpoint(first.pid(), p.path("1"))
		first.killTree()
		first.close()
		for n := range 3 {
			j := p.translated(prog, p.path("1"))
			j.killAnswerer()
			j.says("ok", n+1)
			j.close()
		}
		j := p.translated(prog, p.path("1"))
		j.killSupervisor()
		p.checkpoint(j.pid(), p.path("2"), "--dir", p.path("jobs"))
		j.killTree()
		j.close()
		j = p.translated(prog, p.path("2"))
		j.killAnswerer()
		j.says("ok", 4)
		j.close()
	})
}

// TestIDsNotTranslated: what cannot be had without privilege is refused before anything
// is made, and ids that are held in memory.
func TestIDsNotTranslated(t *testing.T) {
	forUsers(t, func(p *place) {
		for _, c := range []struct{ name, why string }{{"several", "must run one program"}, {"robust", "holds a robust mutex"}} {
			prog := one(c.name)
			if c.name == "several" {
				prog = program{name: c.name, argv: func() []string { return []string{"/bin/sh", "-c", "sleep 1000 & echo ready >>$2; wait", "sh"} }}
			}
			compiled := prog.argv
			prog.argv = func() []string { return unprivileged(p, compiled()...) }
			j := p.start(prog)
			j.says("ready", 1)
			image := p.path(c.name)
			p.checkpoint(j.pid(), image)
			r := p.command(nil, unprivileged(p, supervise, "restart", image, "--ids=translate")...)
			if r.code != 5 || !strings.Contains(r.err, c.why) {
				t.Errorf("%s: exit code %d\n%s", c.name, r.code, r.err)
			}
			j.killTree()
			j.close()
			os.Remove(p.logFile())
		}
	})
}
