package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// silent runs a command of supervise that must succeed without a word.
func (p *place) silent(args ...string) {
	p.t.Helper()
	if r := p.supervise(nil, args...); r.code != 0 || r.out != "" || r.err != "" {
		p.t.Errorf("supervise %v: exit code %d\n%s%s", args, r.code, r.out, r.err)
	}
}

// TestSnapshot takes snapshots as cron does: of a job, of a pid, and of what a
// pid file names.
func TestSnapshot(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		for range 4 {
			p.silent("snapshot", "job", "--keep", "2", "--max-age", "1h")
		}
		p.expectImages("job@0003 job@0004")
		p.silent("snapshot", j.pid(), "--keep", "1")
		p.expectImages("job@0005")
		pidFile := p.path("work/service.pid")
		must(p.t, os.WriteFile(pidFile, []byte(j.pid()+"\n"), 0o644))
		p.silent("snapshot", "--pid-file", pidFile, "--keep", "1")
		p.silent("snapshot", j.pid(), "--name", "mine")
		p.expectImages("job@0005 mine@0001 service@0001")
		must(p.t, os.Remove(pidFile))
		var facts struct {
			Skipped bool
			Image   string
			PauseNS int64 `json:"pause_ns"`
		}
		must(p.t, json.Unmarshal([]byte(p.ok("snapshot", "job", "--json")), &facts))
		if facts.Skipped || facts.Image != p.path("jobs/job/0006") || facts.PauseNS <= 0 {
			p.t.Errorf("snapshot --json: %+v", facts)
		}
		j.undisturbed(before)
		j.killTree()
		j.close()
		again := p.restart(j.prog, "job")
		again.like(before)
		again.finish(1)
	})
}

// TestSnapshotStale: what cron mails when snapshots fail.
func TestSnapshotStale(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		p.silent("snapshot", "job", "--max-age", "1h")
		lock, err := os.Open(p.path("jobs/job"))
		must(p.t, err)
		must(p.t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
		p.silent("snapshot", "job", "--max-age", "1h")
		p.fails(7, "the newest good snapshot of job job, job@0001, is ", "snapshot", "job", "--max-age", "1s")
		lock.Close()
		p.expectImages("job@0001")

		r := p.supervise([]string{"SUPERVISE_FAULT=fail:memory"}, "snapshot", "job", "--max-age", "1s")
		if r.code != 7 || !strings.Contains(r.err, "asks for phase memory to fail") || !strings.Contains(r.err, "old, more than 1s") ||
			!strings.Contains(r.err, "left running") {
			p.t.Errorf("a snapshot that fails: exit code %d\n%s", r.code, r.err)
		}
		j.finish(1)
		p.fails(6, "no such job", "snapshot", "job")
		p.fails(6, "old, more than 1s", "snapshot", "job", "--max-age", "1s")
		p.fails(6, "old, more than 1s", "snapshot", j.pid(), "--name", "job", "--max-age", "1s")
		if r := p.supervise(nil, "snapshot", "job", "--max-age", "1h"); r.code != 6 || strings.Contains(r.err, "old") {
			p.t.Errorf("a job that has just ended: exit code %d\n%s", r.code, r.err)
		}
	})
}

// TestSnapshotKilled kills snapshots midway: the next one removes what is left
// of them.
func TestSnapshotKilled(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		p.silent("snapshot", "job")
		for _, phase := range []string{"freeze", "capture", "memory", "thaw", "commit"} {
			if r := p.supervise([]string{"SUPERVISE_FAULT=kill:" + phase}, "snapshot", "job", "--keep", "1"); r.code != 128+9 {
				p.t.Errorf("killed in %s: exit code %d\n%s", phase, r.code, r.err)
			}
			if got := p.images(); !strings.Contains(got, "job@0001") || !strings.Contains(got, "(unfinished)") {
				p.t.Errorf("killed in %s: images %s", phase, got)
			}
			if wrong := unharmed(j.tree()); wrong != "" {
				p.t.Errorf("killed in %s: %s", phase, wrong)
			}
		}
		p.silent("snapshot", "job", "--keep", "2")
		j.undisturbed(before)
		if got := p.images(); !strings.HasPrefix(got, "job@0001 job@") || strings.Contains(got, "unfinished") {
			p.t.Errorf("images %s", got)
		}
		j.finish(1)
	})
}

// TestSnapshotsAtOnce starts several at a time, as a clock does when the machine
// is slow: all is well with all of them.
func TestSnapshotsAtOnce(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("pipes").supervised())
		before := j.settle()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { p.silent("snapshot", "job", "--keep", "2", "--max-age", "1h") })
		}
		wg.Wait()
		if got := p.images(); strings.Count(got, "job@") > 2 || strings.Contains(got, "(") || got == "" {
			p.t.Errorf("images %s", got)
		}
		j.undisturbed(before)
		j.finish(1)
	})
}

// TestSnapshotFullDisk: a full disk leaves what is there, and what it costs is
// given back.
func TestSnapshotFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	forUsers(t, func(p *place) {
		disk := p.path("disk")
		must(p.t, os.MkdirAll(disk, 0o755))
		must(p.t, unix.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=512k,uid=%d,mode=755", p.user.uid)))
		p.t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
		j := p.start(one("pipes"))
		before := j.settle()
		last := ""
		for range 10 {
			r := p.supervise(nil, "snapshot", j.pid(), "--name", "job", "--dir", disk, "--keep", "9")
			if r.code == 0 {
				last = p.images("--dir", disk)
				continue
			}
			if r.code != 1 || !strings.Contains(r.err, "no space left") || !strings.Contains(r.err, "left running") {
				p.t.Errorf("a full disk: exit code %d\n%s", r.code, r.err)
			}
			if got := p.images("--dir", disk); got != last || last == "" {
				p.t.Errorf("after the disk was full: %s, before %s", got, last)
			}
			j.undisturbed(before)
			p.ok("images", "prune", "--keep", "1", "--dir", disk)
			break
		}
		j.finish(1)
	})
}
