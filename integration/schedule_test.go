package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startScheduled starts a program under a supervisor that takes snapshots.
func (p *place) startScheduled(prog program, env []string, flags ...string) *job {
	p.t.Helper()
	argv := append([]string{supervise, "run", "--name", "job"}, flags...)
	j := &job{holder: p.hold(launch{argv: append(append(argv, "--"), p.argv(prog)...), env: env}), p: p, prog: prog}
	j.says("ready", 1)
	j.root = j.tree()[0]
	return j
}

// settleBetween waits until the tree is quiet, and not in a snapshot.
func (j *job) settleBetween() (s state) {
	j.t.Helper()
	held := func(line string) bool { return strings.HasSuffix(line, "state: t") }
	wait(j.t, "a moment between snapshots", 30*time.Second, func() string {
		s = j.settle()
		if slices.ContainsFunc(s, held) || !slices.Equal(s, j.observe()) {
			return "in a snapshot"
		}
		return ""
	})
	return s
}

// newest is the highest number of a committed snapshot of a job.
func (p *place) newest(job string) (n int) {
	found, _ := filepath.Glob(p.path("jobs/" + job + "/*/manifest.json"))
	for _, f := range found {
		number, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		n = max(n, number)
	}
	return n
}

func (p *place) awaitNewest(job string, n int) {
	p.t.Helper()
	wait(p.t, fmt.Sprintf("snapshot %d of %s", n, job), 60*time.Second, func() string {
		if got := p.newest(job); got < n {
			return fmt.Sprintf("there are %d", got)
		}
		return ""
	})
}

// TestInterval has the supervisor take snapshots, of a program that it has
// started and of one that it has brought back.
func TestInterval(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.startScheduled(one("pipes"), nil, "--interval", "200ms", "--keep", "2")
		before := j.settleBetween()
		p.awaitNewest("job", 4)
		// At most the two that are kept, one to be removed, and one being taken.
		if got := p.images(); strings.Count(got, "job@") > 4 {
			t.Errorf("images %s", got)
		}
		expect(t, "under snapshots", before, j.observe, always)
		p.ok("checkpoint", "job", "--stop") // beside them
		j.gone()
		if said := j.out.String(); said != "" {
			t.Errorf("said: %s", said)
		}
		n := p.newest("job")
		again := p.restart(j.prog, "job") // goes on as before
		again.like(before)
		p.awaitNewest("job", n+3)
		again.like(before)
		p.ok("checkpoint", "job", "--stop")
		again.gone()
		if said := again.out.String(); said != "" {
			t.Errorf("said: %s", said)
		}
		last := p.restart(j.prog, "job", "--interval", "0")
		if record := slurp(p.path("jobs/job/job.json")); strings.Contains(record, "interval_ns") || strings.Contains(record, `"keep"`) {
			t.Errorf("with --interval 0: %s", record)
		}
		last.finish(1)
	})
}

// TestIntervalFails: a snapshot that fails, or is killed, is told and does not
// end the program.
func TestIntervalFails(t *testing.T) {
	for fault, message := range map[string]string{"fail:memory": "asks for phase memory to fail", "kill:memory": "it was killed", "kill:commit": "it was killed"} {
		t.Run(fault, func(t *testing.T) {
			forUsers(t, func(p *place) {
				j := p.startScheduled(one("pipes"), []string{"SUPERVISE_FAULT=" + fault}, "--interval", "200ms")
				wait(p.t, "messages", 30*time.Second, func() string {
					if said := j.out.String(); strings.Count(said, message) < 2 || !strings.Contains(said, "snapshot of job job failed\n") {
						return "said: " + said
					}
					return ""
				})
				if record := slurp(p.path("jobs/job/job.json")); !strings.Contains(record, message) {
					t.Errorf("the record does not tell: %s", record)
				}
				p.silent("snapshot", j.pid(), "--name", "other")
				j.finish(1)
			})
		})
	}
}

// TestIntervalSupervisorKilled kills the supervisor while snapshots are taken:
// the program goes on, and the next snapshot is as any.
func TestIntervalSupervisorKilled(t *testing.T) {
	forUsers(t, func(p *place) {
		for round := range 5 {
			os.Remove(p.goFile())
			os.Remove(p.logFile())
			j := p.startScheduled(one("pipes"), nil, "--interval", "100ms", "--keep", "1")
			before := j.settleBetween()
			p.awaitNewest("job", p.newest("job")+1)
			time.Sleep(time.Duration(round) * 23 * time.Millisecond)
			j.killSupervisor()
			p.silent("snapshot", "job", "--keep", "1") // the job is still known
			expect(p.t, "after the death of its supervisor", before, j.observe, always, detached)
			must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
			j.says("ok", 1)
			j.close()
		}
	})
}

// attach becomes the supervisor of a tree, and waits until it is.
func (p *place) attach(args ...string) *holder {
	p.t.Helper()
	h := p.hold(launch{argv: append([]string{supervise, "attach"}, args...)})
	wait(p.t, "attach", 20*time.Second, func() string {
		if s, ok := h.exited(h.child); ok {
			p.t.Fatalf("attach %v: exit code %d\n%s", args, shellStatus(s), h.out.String())
		}
		if !strings.Contains(h.out.String(), `"attached"`) {
			return "said: " + h.out.String()
		}
		return ""
	})
	return h
}

// ends waits for the end of a command, which must be this.
func (h *holder) ends(code int, message string) {
	h.t.Helper()
	wait(h.t, "end of the command", 20*time.Second, func() string {
		s, ok := h.exited(h.child)
		if !ok {
			return "runs: " + h.out.String()
		}
		if got := shellStatus(s); got != code {
			h.t.Errorf("exit code %d, want %d", got, code)
		}
		return ""
	})
	h.close()
	if !strings.Contains(h.out.String(), message) {
		h.t.Errorf("said %s, want %s", h.out.String(), message)
	}
}

// TestAttach becomes the supervisor of a tree that somebody else has started,
// lets it go, and stays until its end.
func TestAttach(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes"))
		before := j.settle()
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			h := p.attach(j.pid(), "--name", "mine", "--interval", "200ms", "--keep", "1")
			p.awaitNewest("mine", p.newest("mine")+1)
			p.silent("snapshot", "mine", "--keep", "1")
			p.fails(1, "job mine has a supervisor", "attach", j.pid())
			p.fails(1, "job mine has a supervisor", "attach", "mine")
			expect(t, "while attached", before, j.observe, always)
			must(t, syscall.Kill(h.child, sig))
			h.ends(0, "the tree runs on")
			p.fails(6, "no such job", "snapshot", "mine")
			j.undisturbed(before)
		}
		if got := p.images(); strings.Count(got, "mine@") != 1 || strings.Contains(got, "(") {
			t.Errorf("images %s", got)
		}
		h := p.attach(j.pid())
		p.silent("snapshot", "pipes-"+j.pid())
		j.finish(1)
		h.ends(0, "the tree has ended")
		must(t, os.Remove(p.goFile()))
		again := p.restart(j.prog, "mine")
		again.like(before)
		again.finish(2)
	})
}

// TestAttachAgain attaches to trees that were jobs before: the supervisor of one
// was killed, the other was restarted without.
func TestAttachAgain(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		p.fails(1, "job job has a supervisor", "attach", j.pid())
		p.fails(1, "job job has a supervisor", "attach", "job")
		j.killSupervisor()
		p.fails(2, "is the job job", "attach", j.pid(), "--name", "mine")
		h := p.attach(j.pid())
		p.silent("snapshot", "job")
		p.kill(h.child) // and this one, too
		h.ends(128+9, "")
		h = p.attach("job")
		p.ok("checkpoint", "job", "--stop")
		h.ends(0, "the tree has ended")
		j.close()

		again := p.restart(j.prog, "job", "--detach")
		again.like(before)
		h = p.attach("job", "--interval", "200ms", "--keep", "1")
		p.awaitNewest("job", 4)
		must(t, syscall.Kill(h.child, syscall.SIGTERM))
		h.ends(0, "the tree runs on")
		p.silent("snapshot", "job", "--keep", "1")
		again.like(before)
		h = p.attach(again.pid())
		again.finish(1)
		h.ends(0, "the tree has ended")
		if _, err := os.Stat(p.path("jobs/job/job.json")); err == nil {
			t.Error("the record of the job is still there")
		}
	})
}

// TestAttachAtOnce: one of several gets the tree.
func TestAttachAtOnce(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes"))
		var all []*holder
		for range 4 {
			all = append(all, p.hold(launch{argv: []string{supervise, "attach", j.pid()}}))
		}
		attached, refused := 0, 0
		for _, h := range all {
			wait(t, "verdict", 20*time.Second, func() string {
				switch said := h.out.String(); {
				case strings.Contains(said, `"attached"`):
					attached++
				case strings.Contains(said, "has a supervisor"):
					refused++
				default:
					return "said: " + said
				}
				return ""
			})
		}
		if attached != 1 || refused != 3 {
			t.Errorf("%d attached, %d refused", attached, refused)
		}
		j.finish(1)
	})
}

// TestAttachNone names trees that cannot be attached to.
func TestAttachNone(t *testing.T) {
	forUsers(t, func(p *place) {
		p.fails(6, "no such process", "attach", "32767000")
		p.fails(6, "no such job", "attach", "nosuchjob")
		p.fails(2, "--keep needs --interval", "attach", "1", "--keep", "3")
		p.fails(2, "shorter", "attach", "1", "--interval", "1ms")
		p.fails(2, "--interval needs a supervisor", "restart", "x", "--detach", "--interval", "1m")
		if p.user.uid == 0 {
			return
		}
		foreign := exec.Command("sleep", "100")
		must(t, foreign.Start())
		defer foreign.Wait()
		defer foreign.Process.Kill()
		p.fails(1, "permission denied", "attach", strconv.Itoa(foreign.Process.Pid))
	})
}

// TestPs lists a job in each of its lives.
func TestPs(t *testing.T) {
	type row struct {
		Job, State    string
		PID           int
		Processes     int
		SupervisorPID int `json:"supervisor_pid"`
		Attached      bool
		Interval      time.Duration             `json:"interval_ns"`
		Newest        string                    `json:"newest_good"`
		Age           *float64                  `json:"newest_age_s"`
		Failure       *struct{ Message string } `json:"last_failure"`
		Phases        []struct{ Name string }   `json:"restart_phases"`
	}
	forUsers(t, func(p *place) {
		theJob := func() (r row) {
			var rows []row
			must(p.t, json.Unmarshal([]byte(p.ok("ps", "--json")), &rows))
			if len(rows) != 1 {
				p.t.Fatalf("ps lists %+v", rows)
			}
			return rows[0]
		}
		if text := p.ok("ps"); text != "" {
			p.t.Errorf("no jobs: %s", text)
		}
		j := p.start(one("pipes").supervised())
		before := j.settle()
		if r := theJob(); r.Job != "job" || r.PID != j.root || r.SupervisorPID != j.child || r.State != "running" || r.Processes != 2 ||
			r.Newest != "" || r.Age != nil || r.Attached || r.Interval != 0 {
			p.t.Errorf("ps of a job that runs: %+v", r)
		}
		p.silent("snapshot", "job")
		p.silent("snapshot", "job")
		p.spoil("jobs/job/0002/index")
		if r := theJob(); r.Newest != "job@0001" || *r.Age < 0 || *r.Age > 60 {
			p.t.Errorf("ps of a job with a good and a damaged snapshot: %+v", r)
		}
		if text := p.ok("ps"); !strings.Contains(text, "job@0001") || strings.Count(text, "\n") != 2 {
			p.t.Errorf("ps prints\n%s", text)
		}
		j.killSupervisor()
		if r := theJob(); r.SupervisorPID != 0 || r.Processes != 2 {
			p.t.Errorf("ps of a job without a supervisor: %+v", r)
		}
		h := p.attach("job", "--interval", "1h")
		if r := theJob(); r.SupervisorPID != h.child || !r.Attached || r.Interval != time.Hour {
			p.t.Errorf("ps of a job attached to: %+v", r)
		}
		p.ok("checkpoint", "job", "--stop")
		h.ends(0, "the tree has ended")
		j.close()
		again := p.restart(j.prog, "job@3", "--detach")
		again.like(before)
		if r := theJob(); r.PID != again.root || r.SupervisorPID != 0 || len(r.Phases) != 7 {
			p.t.Errorf("ps of a job restarted: %+v", r)
		}
		if text := p.ok("ps", "job"); !strings.Contains(text, "\nphase        fill ") {
			p.t.Errorf("ps job prints\n%s", text)
		}
		p.fails(6, "no such job", "ps", "nosuchjob")
		again.finish(1)
		if text := p.ok("ps"); strings.Contains(text, "running") {
			p.t.Errorf("a job that has ended: %s", text)
		}
	})
}
