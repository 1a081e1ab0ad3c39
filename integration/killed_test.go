package integration

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"supervise/plugins"
)

// attacked are programs that always compute, that other processes wait for, or
// that wait themselves: what an interruption could harm.
var attacked = []string{"fpu", "goruntime", "python", "vectors", "rseq", "timeouts", "blocked_epoll_wait", "blocked_sigtimedwait", "shared", "storm_nested", "seccomp",
	"sysvshm", "sysvsem", "novdso", "aio_traffic"}

// row finds a program in the table.
func row(t testing.TB, name string) program {
	t.Helper()
	for _, p := range programs {
		if p.name == name {
			return p
		}
	}
	t.Fatalf("no program %s", name)
	return program{}
}

// neverRestarted are those that wait in a call that the kernel does not take
// up again after a stop (man 7 signal). To stop a thread is to wake it; a
// supervisor that dies after it has woken a thread and before it could see it
// stopped (tens of microseconds) leaves it with EINTR, as SIGSTOP and SIGCONT
// would. Kills at phases never meet that moment, random ones do.
var neverRestarted = []string{"timeouts", "blocked_epoll_wait", "blocked_sigtimedwait", "unixtraffic", "tcptraffic"}

// forAttacked runs fn for each attacked program, but for the exceptions, and user.
func forAttacked(t *testing.T, fn func(p *place, prog program), exceptions ...string) {
	for _, name := range attacked {
		if slices.Contains(exceptions, name) {
			continue
		}
		for _, u := range users() {
			if row(t, name).root && u.uid != 0 {
				continue
			}
			t.Run(name+"/"+u.name, func(t *testing.T) {
				t.Parallel()
				fn(newPlace(t, u), row(t, name))
			})
		}
	}
}

// healthy checks that the tree runs, untouched by anybody.
func (j *job) healthy(when string) {
	j.t.Helper()
	if wrong := unharmed(j.tree()); wrong != "" {
		j.t.Fatalf("%s: %s", when, wrong)
	}
	if log := slurp(j.p.logFile()); strings.Contains(log, "FAIL") {
		j.t.Fatalf("%s, the program found: %s", when, log)
	}
	if s, ok := j.exited(j.child); ok {
		j.t.Fatalf("%s, the program had ended: status %d", when, shellStatus(s))
	}
}

// recovers checks that the next snapshot succeeds and takes away whatever a
// killed one has left in the tree.
func (j *job) recovers(before state, when string) {
	j.t.Helper()
	j.p.checkpoint(j.pid(), j.p.path("recovered"))
	j.undisturbed(before)
	for _, pid := range j.tree() {
		if strings.Contains(slurp(procPath(pid, "maps")), "[anon:supervise") {
			j.t.Errorf("%s, and after one more snapshot: a parasite in pid %d", when, pid)
		}
	}
	must(j.t, os.RemoveAll(j.p.path("recovered")))
}

// noSnapshot checks that a directory does not look like one.
func (p *place) noSnapshot(image string) {
	p.t.Helper()
	if r := p.supervise(nil, "verify", image); r.code != 4 {
		p.t.Errorf("verify of a snapshot that was not finished: exit code %d\n%s%s", r.code, r.out, r.err)
	}
}

// TestKilledAtPhase kills the supervisor as each phase begins.
func TestKilledAtPhase(t *testing.T) {
	forAttacked(t, func(p *place, prog program) {
		j := p.start(prog)
		before := j.settle()
		for _, phase := range plugins.SnapshotPhases {
			image := p.path("killed-" + string(phase))
			r := p.supervise([]string{"SUPERVISE_FAULT=kill:" + string(phase)}, "checkpoint", j.pid(), "--image", image)
			if r.code != 137 {
				p.t.Fatalf("kill at %s: exit code %d\n%s", phase, r.code, r.err)
			}
			j.healthy("after a kill at " + string(phase))
			p.noSnapshot(image)
			if prog.how != nothing {
				j.recovers(before, "after a kill at "+string(phase))
			}
		}
		j.finish(1)
	})
}

// TestFailedAtPhase makes each phase fail.
func TestFailedAtPhase(t *testing.T) {
	forAttacked(t, func(p *place, prog program) {
		j := p.start(prog)
		before := j.settle()
		for _, phase := range plugins.SnapshotPhases {
			image := p.path("failed-" + string(phase))
			r := p.supervise([]string{"SUPERVISE_FAULT=fail:" + string(phase)}, "checkpoint", j.pid(), "--image", image)
			if r.code != 1 || !strings.Contains(r.err, "left running") {
				p.t.Errorf("failure at %s: exit code %d\n%s", phase, r.code, r.err)
			}
			j.undisturbed(before)
			p.nothingIn("failed-" + string(phase))
		}
		j.finish(1)
	})
}

// TestKilledInPause kills the supervisor while it has changed something in the
// tree that only the tree can take back.
func TestKilledInPause(t *testing.T) {
	for _, at := range []struct {
		name, moment string
		rounds       int
	}{{"tcplinks", "settle", 1}, {"tcptraffic", "settle", 5}, {"tcpurgent", "peek", 5}, {"unixmsgs", "peek", 5}, {"unixtraffic", "peek", 5}, {"udp", "peek", 5}} {
		t.Run(at.name, func(t *testing.T) {
			forUsers(t, func(p *place) {
				prog, moment := row(t, at.name), at.moment
				j := p.start(prog)
				before := j.settle()
				killed := 0
				for range at.rounds {
					image := p.path("killed")
					r := p.supervise([]string{"SUPERVISE_FAULT=kill:" + moment}, "checkpoint", j.pid(), "--image", image)
					if r.code == 137 {
						killed++
						j.healthy("after a kill at " + moment)
						j.recovers(before, "after a kill at "+moment)
					} else if r.code != 0 { // 0: there was nothing to be looked at
						p.t.Fatalf("kill at %s: exit code %d\n%s", moment, r.code, r.err)
					}
					must(p.t, os.RemoveAll(image))
				}
				if killed == 0 {
					p.t.Errorf("there was no moment %s", moment)
				}
				j.finish(1)
			})
		})
	}
}

// kills is how many random moments each program sees.
func kills(t testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("SUPERVISE_KILLS"))
	if err != nil {
		n = 20
	}
	return n
}

// killedAfter runs supervise and kills it after a while.
func (p *place) killedAfter(d time.Duration, args ...string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	cmd := exec.CommandContext(ctx, supervise, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.path("work"), p.env(), p.user.attr()
	cmd.Run()
}

// TestKilledAtRandom kills the supervisor at random moments of a snapshot.
func TestKilledAtRandom(t *testing.T) {
	forAttacked(t, func(p *place, prog program) {
		j := p.start(prog)
		before := j.settle()
		start := time.Now()
		p.checkpoint(j.pid(), p.path("first"))
		took := time.Since(start)
		for n := range kills(p.t) {
			if s, ok := j.exited(j.child); ok && prog.how == nothing && s == 0 {
				return // it has ended by itself, and well
			}
			after := rand.N(took + took/5)
			p.killedAfter(after, "checkpoint", j.pid(), "--image", p.path("killed"))
			if prog.how != nothing {
				j.healthy("kill " + strconv.Itoa(n) + " after " + after.String())
			}
			must(p.t, os.RemoveAll(p.path("killed")))
		}
		if prog.how != nothing {
			j.recovers(before, "after random kills")
		}
		j.finish(1)
	}, neverRestarted...)
}

// fresh makes an image of a tree that has been ended.
func (p *place) fresh(prog program, image string) state {
	p.t.Helper()
	j := p.start(prog)
	before := j.settle()
	p.checkpoint(j.pid(), image, "--stop")
	j.gone()
	return before
}

// nothingLeft checks that a restart that failed has left no process.
func (h *holder) nothingLeft(what string) {
	h.t.Helper()
	wait(h.t, what+": nothing left", 5*time.Second, func() string {
		return strings.Join(states(descendants(h.cmd.Process.Pid)), ", ")
	})
}

// TestRestartFault makes each phase of a restart fail, or kills it there.
func TestRestartFault(t *testing.T) {
	for _, name := range []string{"shared", "threads", "goruntime", "pipes", "mqueues", "hostname"} {
		for _, u := range users() {
			t.Run(name+"/"+u.name, func(t *testing.T) {
				t.Parallel()
				p, prog := newPlace(t, u), row(t, name)
				before := p.fresh(prog, p.path("image"))
				for _, phase := range plugins.RestartPhases {
					for _, how := range []string{"fail", "kill"} {
						p.faultyRestart(how, string(phase))
					}
				}
				again := p.restart(prog, p.path("image"))
				again.like(before)
				again.finish(1)
			})
		}
	}
}

func (p *place) faultyRestart(how, phase string) {
	p.t.Helper()
	h := p.hold(launch{argv: []string{supervise, "restart", p.path("image"), "--pid-file", p.path("pid")},
		env: []string{"SUPERVISE_FAULT=" + how + ":" + phase}})
	what := "restart with " + how + " at " + phase
	wait(p.t, what+" ends", 20*time.Second, func() string {
		s, ok := h.exited(h.child)
		if !ok {
			return "runs on: " + strings.Join(states(descendants(h.cmd.Process.Pid)), ", ")
		}
		if code := shellStatus(s); how == "kill" && code != 137 || how == "fail" && (code == 0 || code > 127) {
			p.t.Errorf("%s: exit code %d\n%s", what, code, h.out.String())
		}
		return ""
	})
	h.nothingLeft(what)
	if _, err := os.Stat(p.path("pid")); err == nil {
		p.t.Errorf("%s: has written its pid file", what)
	}
	h.close()
}

// TestRestartKilledAtRandom kills restarts at random moments: either nothing is
// left, or the whole tree runs.
func TestRestartKilledAtRandom(t *testing.T) {
	for _, name := range []string{"shared", "goruntime", "ids"} {
		for _, u := range users() {
			t.Run(name+"/"+u.name, func(t *testing.T) {
				t.Parallel()
				p, prog := newPlace(t, u), row(t, name)
				before := p.fresh(prog, p.path("image"))
				start := time.Now()
				first := p.restart(prog, p.path("image"))
				took := time.Since(start)
				first.killTree()
				for range kills(t) {
					p.killRestart(prog, before, rand.N(took+took/5))
				}
				again := p.restart(prog, p.path("image"))
				again.like(before)
				again.finish(1)
			})
		}
	}
}

func (p *place) killRestart(prog program, before state, after time.Duration) {
	p.t.Helper()
	j := &job{holder: p.hold(launch{argv: []string{supervise, "restart", p.path("image")}}), p: p, prog: prog}
	time.Sleep(after)
	p.kill(j.child)
	wait(p.t, "nothing or everything, after a kill at "+after.String(), 10*time.Second, func() string {
		pids := j.tree()
		if len(pids) == 0 {
			left := descendants(j.cmd.Process.Pid)
			return strings.Join(append(states(left), tracers(left)...), ", ")
		}
		if wrong := unharmed(pids); wrong != "" {
			return wrong
		}
		root := slices.IndexFunc(pids, func(pid int) bool { return strconv.Itoa(inner(pid)) == strings.Fields(before[0])[0] })
		if root < 0 && prog.how == rootOnly {
			return "no root: " + strings.Join(states(pids), ", ")
		} else if root < 0 {
			root = 0
		}
		return diff(before.canonical(j.rules()...), observe(pids, pids[root], prog.how).canonical(j.rules()...))
	})
	j.killTree()
	j.close()
}

// kill kills one process.
func (p *place) kill(pid int) {
	if proc, err := os.FindProcess(pid); err == nil {
		proc.Kill()
	}
}

// TestKilledWhileFrozen kills a process of the tree in the middle of a snapshot.
func TestKilledWhileFrozen(t *testing.T) {
	for _, victim := range []string{"child", "root"} {
		for _, u := range users() {
			t.Run(victim+"/"+u.name, func(t *testing.T) {
				t.Parallel()
				for n := range max(kills(t)/2, 3) {
					p := newPlace(t, u)
					j := p.start(one("busy").with("32", "3", "6").rootOnly())
					p.killDuring(j, victim, filepath.Join(p.dir, "image"+strconv.Itoa(n)))
				}
			})
		}
	}
}

func (p *place) killDuring(j *job, victim, image string) {
	pids := j.tree()
	go func() {
		time.Sleep(rand.N(80 * time.Millisecond))
		if victim == "root" {
			p.kill(j.root)
		} else {
			p.kill(pids[len(pids)-1])
		}
	}()
	r := p.supervise(nil, "checkpoint", j.pid(), "--image", image)
	if strings.Contains(r.err, "goroutine ") || r.code == 2 {
		p.t.Fatalf("a panic: %s", r.err)
	}
	if r.code != 0 && !strings.Contains(r.err, "gone") && !strings.Contains(r.err, "no such process") && !strings.Contains(r.err, "left running") {
		p.t.Errorf("exit code %d does not say in which state the tree is: %s", r.code, r.err)
	}
	if wrong := unharmed(j.tree()); wrong != "" {
		p.t.Errorf("the rest: %s", wrong)
	}
	if victim == "child" {
		j.finish(1)
	} else {
		j.killTree()
		j.close()
	}
}
