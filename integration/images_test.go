package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// ok runs a command of supervise that must succeed, and gives its output.
func (p *place) ok(args ...string) string {
	p.t.Helper()
	r := p.supervise(nil, args...)
	if r.code != 0 {
		p.t.Fatalf("supervise %v: exit code %d\n%s", args, r.code, r.err)
	}
	return r.out
}

// fails runs a command of supervise that must fail with an exit code and a
// message.
func (p *place) fails(code int, message string, args ...string) {
	p.t.Helper()
	if r := p.supervise(nil, args...); r.code != code || !strings.Contains(r.err, message) {
		p.t.Errorf("supervise %v: exit code %d, want %d and %q\n%s", args, r.code, code, message, r.err)
	}
}

// images lists the snapshots in the directory of jobs: "job@0001 job@0002(damaged)".
func (p *place) images(args ...string) string {
	p.t.Helper()
	var rows []struct{ Name, State string }
	must(p.t, json.Unmarshal([]byte(p.ok(append([]string{"images", "--json"}, args...)...)), &rows))
	var names []string
	for _, r := range rows {
		if r.State != "good" {
			r.Name += "(" + r.State + ")"
		}
		names = append(names, r.Name)
	}
	return strings.Join(names, " ")
}

// spoil changes a byte of a file.
func (p *place) spoil(name string) {
	p.t.Helper()
	f, err := os.OpenFile(p.path(name), os.O_RDWR, 0)
	must(p.t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], 40)
	must(p.t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], 40)
	must(p.t, err)
}

func (p *place) expectImages(want string) {
	p.t.Helper()
	if got := p.images(); got != want {
		p.t.Errorf("images: %s, want %s", got, want)
	}
}

// TestImages lists, removes and prunes the snapshots of a job, some of them
// damaged, and restarts the one that is left by the name of the job.
func TestImages(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		p.fails(4, "no image", "restart", "job")
		for range 6 {
			p.ok("checkpoint", "job")
		}
		p.expectImages("job@0001 job@0002 job@0003 job@0004 job@0005 job@0006")
		if text := p.ok("images", "job"); !strings.Contains(text, "job@0004") || strings.Count(text, "good") != 6 {
			p.t.Errorf("images prints\n%s", text)
		}

		p.fails(4, "job@0009", "images", "remove", "job@2", "job@9")
		p.fails(4, "nobody", "images", "remove", "nobody@1")
		p.fails(4, "nobody", "images", "nobody")
		p.fails(2, "NAME@NUMBER", "images", "remove", "job")
		p.fails(2, "--keep", "images", "prune", "job")
		p.ok("images", "remove", "job@2", "job@0004")
		p.expectImages("job@0001 job@0003 job@0005 job@0006")

		// The pages of the newest are damaged, which is only seen when they are read.
		p.spoil("jobs/job/0006/pages")
		p.fails(4, "the good one before it is job@0005", "restart", "job", "--detach")
		p.fails(4, "the good one before it is job@0005", "verify", "job")
		if text := p.ok("images", "prune", "job", "--keep", "1", "--dry-run"); !strings.Contains(text, "job@0005: kept") ||
			!strings.Contains(text, "job@0003: would be removed") || !strings.Contains(text, "job@0006: kept") {
			p.t.Errorf("prune --dry-run prints\n%s", text)
		}
		// Its index is damaged, which is seen at once.
		p.spoil("jobs/job/0006/index")
		p.expectImages("job@0001 job@0003 job@0005 job@0006(damaged)")
		p.ok("images", "prune", "--keep", "1")
		p.expectImages("job@0005 job@0006(damaged)")
		if r := p.supervise(nil, "inspect", "job"); r.code != 0 || !strings.Contains(r.err, "job@0006 is damaged") {
			p.t.Errorf("inspect job: exit code %d\n%s", r.code, r.err)
		}
		p.fails(4, "0006/index", "restart", "job@6", "--detach")

		j.undisturbed(before)
		j.killTree()
		j.close()
		again := p.restart(j.prog, "job")
		again.like(before)
		again.finish(1)
		p.ok("images", "remove", "job@0006", "job@0005")
		p.expectImages("")
	})
}

// TestTwoNames takes snapshots of one tree under two names at the same time: one
// waits for the other.
func TestTwoNames(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes"))
		before := j.settle()
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} {
			wg.Go(func() {
				for range 4 {
					if r := p.supervise(nil, "checkpoint", j.pid(), "--image", p.path(name)); r.code != 0 {
						p.t.Errorf("checkpoint: exit code %d\n%s", r.code, r.err)
					}
					must(p.t, os.RemoveAll(p.path(name)))
				}
				if r := p.supervise(nil, "snapshot", j.pid(), "--name", name); r.code != 0 {
					p.t.Errorf("snapshot: exit code %d\n%s", r.code, r.err)
				}
			})
		}
		wg.Wait()
		j.undisturbed(before)
		j.finish(1)
	})
}

// TestImagesKilled kills images prune at random moments: the newest snapshot is
// good, and what is left of others is removed the next time.
func TestImagesKilled(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		prune := []string{"images", "prune", "job", "--keep", "1"}
		p.ok("checkpoint", "job")
		last := 1
		more := func() {
			for range 3 {
				p.ok("checkpoint", "job")
				last++
			}
		}
		more()
		start := time.Now()
		p.ok(prune...)
		took := time.Since(start)
		for range kills(t) / 2 {
			more()
			p.killedAfter(rand.N(took+took/5), prune...)
			p.ok("verify", fmt.Sprintf("job@%04d", last))
			p.ok(prune...)
			p.expectImages(fmt.Sprintf("job@%04d", last))
		}
		j.undisturbed(before)
		j.killTree()
		j.close()
		again := p.restart(j.prog, "job")
		again.like(before)
		again.finish(1)
	})
}

// TestImagesAtOnce takes snapshots and prunes at the same time: there is always
// a good one, and nothing fails.
func TestImagesAtOnce(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		p.ok("checkpoint", "job")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for range 4 {
					if r := p.supervise(nil, "checkpoint", "job"); r.code != 0 {
						p.t.Errorf("checkpoint: exit code %d\n%s", r.code, r.err)
					}
					if r := p.supervise(nil, "images", "prune", "job", "--keep", "2"); r.code != 0 {
						p.t.Errorf("prune: exit code %d\n%s", r.code, r.err)
					}
				}
			})
		}
		wg.Wait()
		p.expectImages(fmt.Sprintf("job@%04d job@%04d", 12, 13))
		j.undisturbed(before)
		j.finish(1)
	})
}
