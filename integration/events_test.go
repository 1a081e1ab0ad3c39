package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

// tellsOf waits until a plugin and a client have been told of exactly this
// since the last time.
func (p *place) tellsOf(what, want string) {
	p.t.Helper()
	wait(p.t, what+" to be told", 20*time.Second, func() string {
		if told := p.told(); told != want {
			return "told " + told + ", want " + want
		}
		return ""
	})
	must(p.t, os.Remove(filepath.Join(p.logs, "told")))
}

// TestEventsEverywhere: every event of snapshots, failures and restarts comes,
// in order, over three generations, whoever stands for the tree and takes the
// snapshot: run and restart, attach, or nobody, as under cron.
func TestEventsEverywhere(t *testing.T) {
	const taken = "p:before-freeze p:frozen p:captured p:resumed p:committed"
	const restarted = "p:before-restart p:restored p:restarted"
	failures := map[string]string{ // that are there before the phase's own event
		"survey": "p:before-freeze p:failed",
		"memory": "p:before-freeze p:frozen p:failed",
		"commit": "p:before-freeze p:frozen p:captured p:failed",
	}
	for _, how := range []string{"run", "attach", "cron"} {
		t.Run(how, func(t *testing.T) {
			forUsers(t, func(p *place) {
				plugin := p.noting("p", "operation")
				flags := []string{"--plugin", plugin}
				prog := one("pipes")
				if how == "run" {
					prog = prog.under(flags...)
				}
				j := p.start(prog)
				for n := range 3 {
					snapshot := []string{"checkpoint", "job"}
					var held *holder
					switch how {
					case "attach":
						held = p.attach(j.pid(), "--name", "job", "--plugin", plugin)
					case "cron":
						snapshot = []string{"snapshot", j.pid(), "--name", "job", "--plugin", plugin}
					}
					before := j.settle()
					p.ok(snapshot...)
					p.tellsOf("a snapshot", taken)
					j.undisturbed(before)
					for phase, want := range failures {
						if r := p.supervise([]string{"SUPERVISE_FAULT=fail:" + phase}, snapshot...); r.code == 0 {
							t.Errorf("fail:%s does not", phase)
						}
						p.tellsOf("a snapshot that fails in "+phase, want)
						j.undisturbed(before)
					}
					must(t, os.WriteFile(p.goFile(), nil, 0o644))
					j.says("ok", n+1)
					if held != nil {
						held.ends(0, "the tree has ended")
					}
					if how != "cron" || n > 0 {
						p.tellsOf("the end", "p:gone")
					}
					j.close()
					must(t, os.Remove(p.goFile()))
					if r := p.supervise([]string{"SUPERVISE_FAULT=fail:fill"}, "restart", "job"); r.code == 0 {
						t.Errorf("fail:fill does not")
					}
					p.tellsOf("a restart that fails", "p:before-restart")
					detach := []string{}
					if how == "attach" {
						detach = append(detach, "--detach")
					}
					j = p.restart(prog, "job", detach...)
					p.tellsOf("a restart", restarted)
					j.like(before)
				}
				must(t, os.WriteFile(p.goFile(), nil, 0o644))
				j.says("ok", 4)
				if how != "attach" {
					p.tellsOf("the end", "p:gone")
				}
			})
		})
	}
}

// TestAttachedClient: a client of a supervisor that is attached hears every
// event and can make every request, before and after each of three restarts.
func TestAttachedClient(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("pipes")
		j := p.start(prog)
		for n := range 3 {
			held := p.attach(j.pid(), "--name", "job")
			var record struct{ Socket string }
			must(t, json.Unmarshal([]byte(slurp(p.path("jobs/job/job.json"))), &record))
			c, err := client.Dial(record.Socket)
			must(t, err)
			heard := make(chan string, 100)
			must(t, c.Register(func(e client.Event) error {
				if e.Snapshot.Job != "job" || e.Snapshot.Generation != n || e.Snapshot.RootPID != j.root || e.Name == client.SnapshotFail && e.Reason == "" {
					t.Errorf("%s tells of %+v", e.Name, *e.Snapshot)
				}
				heard <- e.Name
				return nil
			}, time.Minute, client.BeforeFreeze, client.Frozen, client.Captured, client.Resumed, client.Committed, client.SnapshotFail, client.Gone))
			hears := func(want string) {
				t.Helper()
				for _, name := range strings.Fields(want) {
					select {
					case got := <-heard:
						if got != name {
							t.Errorf("heard of %s, not %s", got, name)
						}
					case <-time.After(20 * time.Second):
						t.Fatalf("heard nothing of %s", name)
					}
				}
			}
			step := fmt.Sprint(n)
			must(t, c.Annotate(map[string]*string{"step": &step}))
			must(t, c.Hold("me", time.Minute))
			if code, _ := p.asked("job", "hold", map[string]any{"owner": "other", "timeout_ms": 100}); code != "" {
				t.Errorf("hold: %s", code)
			}
			if err := c.Call("checkpoint", nil, nil); err == nil || err.(*client.Error).Code != client.Held {
				t.Errorf("checkpoint of who holds: %v", err)
			}
			must(t, c.Release("me"))
			o, err := c.Checkpoint("a")
			if must(t, err); o.Outcome != "resumed" || o.Generation != n {
				t.Errorf("checkpoint: %+v", o)
			}
			hears("before-freeze frozen captured resumed committed")
			if r := p.supervise([]string{"SUPERVISE_FAULT=fail:capture"}, "checkpoint", "job"); r.code == 0 {
				t.Error("fail:capture does not")
			}
			hears("before-freeze frozen failed")
			second, err := c.Checkpoint("b")
			must(t, err)
			hears("before-freeze frozen captured resumed committed")
			list, err := c.List()
			if must(t, err); len(list) != n+2 || list[len(list)-1].Image != second.Image || list[len(list)-1].Annotations["step"] != step {
				t.Errorf("list: %+v", list)
			}
			must(t, c.Remove(o.Snapshot))
			st, err := c.Status()
			if must(t, err); st.RootPID != j.root || !st.Attached || st.Generation != n || st.Snapshots != n+1 {
				t.Errorf("status: %+v", st)
			}
			for request, want := range map[string]string{"restore": client.Unsupported, "exclude": client.Denied, "dance": client.Unknown} {
				if code, _ := p.asked("job", request, map[string]int{"address": 4096, "length": 4096}); code != want {
					t.Errorf("%s: %q, want %s", request, code, want)
				}
			}
			if n == 1 { // it lets go, and a client is none the worse
				must(t, unix.Kill(held.child, syscall.SIGTERM))
				held.ends(0, "let go")
				j.killTree()
			} else {
				j.killTree()
				held.ends(0, "the tree has ended")
			}
			hears("gone")
			<-c.Done()
			c.Close()
			j.close()
			j = p.restart(prog, "job", "--detach")
		}
		must(t, os.WriteFile(p.goFile(), nil, 0o644))
		j.says("ok", 1)
	})
}

// TestDelayed: an application that holds snapshots back while its state makes no
// sense comes back whole, whenever they are asked for.
func TestDelayed(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := program{name: "delayed", run: true, argv: func() []string { return p.python(filepath.Join(dataDir, "py/delayed.py")) }}
		j := p.start(prog)
		for n := 1; n <= 3; n++ {
			time.Sleep(time.Duration(n) * 70 * time.Millisecond)
			p.ok("snapshot", "job")
			j.killTree()
			j.close()
			j = p.restart(prog, "job")
			j.says(fmt.Sprintf("whole %d", n), 1)
		}
		j.finish(1)
	})
}
