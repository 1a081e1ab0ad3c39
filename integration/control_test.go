package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

// asking is a shell script that is called with the go and log files.
func asking(name string, args ...string) program {
	return program{name: name, argv: script("/bin/bash", "sh/"+name+".sh"), args: args, how: rootOnly}
}

// TestAsks: a shell script asks for snapshots of itself, and is restarted over
// three generations.
func TestAsks(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(asking("asks", supervise).supervised())
		j.says("resumed 0", 1)
		for n := range 3 {
			p.awaitNewest("job", n+1)
			j.killTree()
			j.close()
			j = p.restart(j.prog, "job")
			j.says("restarted "+strconv.Itoa(n), 1)
			if n < 2 {
				j.says("resumed "+strconv.Itoa(n+1), 1)
			}
		}
		j.says("ok", 1)
		j.ended()
		for n := range 3 {
			var m struct {
				Control struct {
					Generation  int
					Annotations map[string]string
				}
			}
			must(t, json.Unmarshal([]byte(slurp(p.path("jobs/job/000"+strconv.Itoa(n+1)), "manifest.json")), &m))
			if a := m.Control.Annotations; m.Control.Generation != n || a["step"] != strconv.Itoa(n) || a["name"] != "step "+strconv.Itoa(n) {
				t.Errorf("manifest %d: %+v", n+1, m)
			}
		}
	})
}

// TestInitiates is TestAsks for a program in C.
func TestInitiates(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("initiates").supervised())
		j.says("resumed 0 in generation 0", 1)
		for n := range 3 {
			j.killTree()
			j.close()
			j = p.restart(j.prog, "job")
			j.says(fmt.Sprintf("restarted %d in generation %d", n, n+1), 1)
			if n < 2 {
				j.says(fmt.Sprintf("resumed %d in generation %d", n+1, n+1), 1)
			}
		}
		j.says("ok", 1)
		j.ended()
	})
}

// TestAskedDetached: without a supervisor the answer still comes.
func TestAskedDetached(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(asking("asks", supervise).supervised())
		j.says("resumed 0", 1)
		j.killTree()
		j.close()
		p.supervise(nil, "restart", "job", "--detach")
		wait(t, "the answer", 20*time.Second, func() string {
			log := slurp(p.logFile())
			if strings.Contains(log, "restarted 0\nFAIL generation\n") {
				return "" // nobody is there to be asked
			}
			return log
		})
	})
}

// count reads what counts.sh has counted.
func (p *place) count() int {
	n, _ := strconv.Atoi(strings.TrimSpace(slurp(filepath.Join(p.logs, "count"))))
	return n
}

// TestRestoreRequest: the tree is replaced, the supervisor stays.
func TestRestoreRequest(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(asking("counts", filepath.Join(p.logs, "count")).supervised())
		p.ok("request", "checkpoint", "--job", "job")
		before := p.count()
		for generation := 1; generation <= 3; generation++ {
			wait(t, "some counting", 20*time.Second, func() string {
				if p.count() > before+20 {
					return ""
				}
				return strconv.Itoa(p.count())
			})
			var o client.Outcome
			must(t, json.Unmarshal([]byte(p.ok("request", "restore", "--job", "job", "--json")), &o))
			if o.Outcome != "restored" || o.Generation != 1 || o.Snapshot != "job@0001" {
				t.Errorf("restore %d: %+v", generation, o)
			}
			wait(t, "the count of the snapshot", 20*time.Second, func() string {
				if p.count() <= before+20 {
					return ""
				}
				return strconv.Itoa(p.count())
			})
			if _, ended := j.exited(j.child); ended {
				t.Fatalf("the supervisor has ended: %s", j.out.String())
			}
		}
		p.fails(1, "job job has no snapshot 9", "request", "restore", "9", "--job", "job")
		p.spoil("jobs/job/0001/pages")
		p.fails(1, "job@0001 is damaged", "request", "restore", "1", "--job", "job")
		p.fails(1, "job@0001 is damaged", "request", "restore", "--job", "job")
		j.finish(1)
	})
}

// TestHoldRequest: a script holds snapshots back, and one that crashes does not.
func TestHoldRequest(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		p.ok("request", "hold", "--job", "job", "--owner", "me", "--timeout", "1h")
		done := make(chan result, 1)
		go func() { done <- p.supervise(nil, "checkpoint", "job") }()
		wait(t, "the snapshot to wait", 10*time.Second, func() string {
			if strings.Contains(p.ok("request", "status", "--job", "job"), `"me"`) {
				return ""
			}
			return "nobody holds"
		})
		time.Sleep(100 * time.Millisecond)
		if got := p.newest("job"); got != 0 {
			t.Errorf("snapshot %d was taken in spite of the hold", got)
		}
		p.ok("request", "release", "--job", "job", "--owner", "me")
		if r := <-done; r.code != 0 {
			t.Errorf("checkpoint: %d %s", r.code, r.err)
		}
		// The process that holds ends with this command.
		p.ok("request", "hold", "--job", "job", "--owner", "short", "--timeout", "100ms")
		p.ok("checkpoint", "job")
		j.finish(1)
	})
}

// TestRefusedByClient: a client refuses, and the tree runs on; one that hangs
// costs its deadline.
func TestRefusedByClient(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		c, err := client.Dial(p.path("jobs/job/control"))
		if os.Getuid() != 0 && err != nil {
			t.Skip("this user is not the owner")
		}
		must(t, err)
		defer c.Close()
		told := make(chan string, 100)
		refuse := client.BeforeFreeze
		for _, at := range []string{client.BeforeFreeze, client.Frozen, client.Captured, ""} {
			refuse = at
			must(t, c.Register(func(e client.Event) error {
				told <- e.Name
				if e.Name == refuse {
					return os.ErrPermission
				}
				return nil
			}, time.Minute, client.BeforeFreeze, client.Frozen, client.Captured, client.Resumed, client.Committed, client.SnapshotFail))
			if at == "" {
				p.ok("checkpoint", "job")
			} else {
				p.fails(1, "refuses at "+at+": permission denied", "checkpoint", "job")
			}
			j.undisturbed(before)
			want := map[string]string{client.BeforeFreeze: "before-freeze failed", client.Frozen: "before-freeze frozen failed",
				client.Captured: "before-freeze frozen captured failed", "": "before-freeze frozen captured resumed committed"}[at]
			var got []string
			for range strings.Fields(want) {
				got = append(got, <-told)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("refused at %q: told %v, not %s", at, got, want)
			}
		}
		// It stops to listen in the middle of a snapshot.
		must(t, c.Register(func(client.Event) error { time.Sleep(3 * time.Second); return nil }, 300*time.Millisecond, client.Frozen))
		p.fails(1, "no reply within 300ms", "checkpoint", "job")
		j.undisturbed(before)
		j.finish(1)
	})
}

// TestWithoutSupervisor takes snapshots while the supervisor is stopped, be it in
// the middle of one, and after it was killed.
func TestWithoutSupervisor(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		must(t, unix.Kill(j.child, unix.SIGSTOP))
		p.ok("checkpoint", "job")
		must(t, unix.Kill(j.child, unix.SIGCONT))

		c, err := client.Dial(p.path("jobs/job/control"))
		must(t, err)
		defer c.Close()
		must(t, c.Register(func(client.Event) error { return unix.Kill(j.child, unix.SIGSTOP) }, time.Minute, client.Frozen))
		p.ok("checkpoint", "job")
		j.undisturbed(before)
		must(t, unix.Kill(j.child, unix.SIGCONT))

		j.killSupervisor()
		p.ok("checkpoint", j.pid(), "--image", p.path("last"))
		if wrong := unharmed(j.tree()); wrong != "" {
			t.Error(wrong)
		}
		must(t, os.WriteFile(p.goFile(), nil, 0o644))
		j.says("ok", 1)
	})
}

// TestAttachRequests: who attaches can be asked, too.
func TestAttachRequests(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes"))
		h := p.attach(j.pid(), "--name", "held")
		wait(t, "the supervisor", 20*time.Second, func() string {
			if r := p.supervise(nil, "request", "status", "--job", "held"); r.code != 0 {
				return r.err
			}
			return ""
		})
		p.ok("request", "annotate", "--job", j.pid(), "a=b")
		p.ok("request", "checkpoint", "--job", "held")
		if out := p.ok("request", "list", "--job", "held", "--json"); !strings.Contains(out, `"a": "b"`) {
			t.Errorf("list: %s", out)
		}
		p.fails(1, "was not started by its supervisor", "request", "restore", "--job", "held")
		p.ok("request", "remove", "--job", "held", "1")
		p.fails(1, "has no snapshot 1", "request", "remove", "--job", "held", "1")
		j.finish(1)
		h.ends(0, "the tree has ended")
		if _, err := os.Stat(p.path("jobs/held/control")); err == nil {
			t.Error("the socket is left behind")
		}
		p.fails(6, "no such job", "request", "status", "--job", "held")
	})
}

// TestSnapshotKilledWithClients kills snapshots midway: clients are told, and the
// next snapshot is as good as ever.
func TestSnapshotKilledWithClients(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("control").supervised())
		c, err := client.Dial(p.path("jobs/job/control"))
		must(t, err)
		defer c.Close()
		failed := make(chan string, 100)
		must(t, c.Register(func(e client.Event) error {
			if e.Name == client.SnapshotFail {
				failed <- e.Reason
			}
			return nil
		}, time.Minute, client.BeforeFreeze, client.SnapshotFail))
		for _, phase := range []string{"survey", "capture", "memory", "thaw", "commit"} {
			if r := p.supervise([]string{"SUPERVISE_FAULT=kill:" + phase}, "checkpoint", "job"); r.code != 128+int(unix.SIGKILL) {
				t.Errorf("killed in %s: %d %s", phase, r.code, r.err)
			}
			if why := <-failed; why != "the process that took it has ended" {
				t.Errorf("killed in %s: told %q", phase, why)
			}
		}
		p.ok("checkpoint", "job")
		j.finish(1)
	})
}
