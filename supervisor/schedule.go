package supervisor

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Schedule says which snapshots a supervisor takes by itself. The zero Schedule
// takes none.
type Schedule struct {
	Interval time.Duration // from the begin of one to that of the next
	Keep     int           // how many good ones; 0 keeps all
}

// Validate tells what is wrong with a schedule.
func (s Schedule) Validate() error {
	const shortest = 100 * time.Millisecond
	switch {
	case s.Interval != 0 && s.Interval < shortest:
		return errors.New("--interval is shorter than 100ms")
	case s.Keep < 0:
		return errors.New("cannot keep fewer than no snapshots")
	}
	return nil
}

// snapshotter takes the snapshots of a schedule, one after the other. Each is the
// errand of a process of its own, `supervise snapshot`.
type snapshotter struct {
	job    *registered
	plan   Schedule
	stop   chan struct{}
	done   chan struct{}
	errand errand
}

// startSchedule begins to take the snapshots of a schedule. It gives nil when
// there is nothing to do.
func startSchedule(job *registered, plan Schedule) *snapshotter {
	if plan.Interval <= 0 || job == nil {
		return nil
	}
	s := &snapshotter{job: job, plan: plan, stop: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

func (s *snapshotter) run() {
	defer close(s.done)
	ticker := time.NewTicker(s.plan.Interval) // drops what comes while one is being taken
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		said, err := s.snapshot()
		if !s.job.Root.alive() {
			return // so it is no wonder
		}
		if err != nil {
			said += fmt.Sprintf("supervise: %v\n", err)
		}
		s.job.setFailure(strings.TrimSpace(said))
		if said != "" && !s.errand.isEnding() {
			say(fmt.Sprintf("supervise: snapshot of job %s failed\n%s", s.job.Name, said))
		}
	}
}

// end stops the schedule, and a snapshot that is being taken, and waits for that.
func (s *snapshotter) end() {
	if s == nil {
		return
	}
	close(s.stop)
	s.errand.end()
	<-s.done
}

// snapshot lets a snapshot be taken, and gives what was said of it: nothing if
// all went well.
func (s *snapshotter) snapshot() (said string, err error) {
	_, problem, err := s.errand.run("snapshot", s.job.Name, "--json",
		"--dir", filepath.Dir(s.job.dir), "--keep", strconv.Itoa(s.plan.Keep))
	return problem, err
}

// say writes a message to standard error. It is no reason to end that nobody
// reads there, or to stop that it is a terminal of which this process is in the
// background.
func say(text string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old, err := setMask(1 << (unix.SIGTTOU - 1))
	if err != nil {
		return
	}
	_, _ = unix.Write(2, []byte(text))
	_, _ = setMask(old)
}
