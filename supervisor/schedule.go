package supervisor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// Schedule says which snapshots a supervisor takes by itself. The zero Schedule
// takes none.
type Schedule struct {
	Interval time.Duration // from the begin of one to that of the next
	Keep     int           // how many good ones; 0 keeps all
}

// snapshotterName is what a process that takes a snapshot for a supervisor is
// called (argv[0]), so that it is not taken for an orphan of the tree.
const snapshotterName = "supervise-snapshot"

// snapshotter takes the snapshots of a schedule, one after the other. Each is the
// work of a process of its own, `supervise snapshot`:
//
//   - This process waits for its children, of any kind. Were it the tracer, too, it
//     would get their ptrace-stops, and the tracer the death of the program.
//   - When this process is killed, the snapshot goes on and is finished, or is
//     given up as any other.
//   - It takes the job's lock, as one from cron does, so that they do not collide.
//
// That process has a session of its own, so that nothing from the keyboard comes
// to it, and says nothing unless the snapshot has failed.
type snapshotter struct {
	job    *registered
	plan   Schedule
	stop   chan struct{}
	done   chan struct{}
	mu     sync.Mutex
	pidfd  int // of the process at work, or -1
	ending bool
}

// startSchedule begins to take the snapshots of a schedule. It gives nil when
// there is nothing to do.
func startSchedule(job *registered, plan Schedule) *snapshotter {
	if plan.Interval <= 0 || job == nil {
		return nil
	}
	s := &snapshotter{job: job, plan: plan, stop: make(chan struct{}), done: make(chan struct{}), pidfd: -1}
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
		if said != "" && !s.isEnding() {
			say(fmt.Sprintf("supervise: snapshot of job %s failed\n%s", s.job.Name, said))
		}
	}
}

// end stops the schedule, and a snapshot that is being taken, and waits for that.
func (s *snapshotter) end() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.ending = true
	close(s.stop)
	if s.pidfd >= 0 {
		_ = unix.PidfdSendSignal(s.pidfd, unix.SIGTERM, nil, 0)
	}
	s.mu.Unlock()
	<-s.done
}

func (s *snapshotter) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// snapshot lets a snapshot be taken, and gives what was said of it: nothing if
// all went well.
func (s *snapshotter) snapshot() (said string, err error) {
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer outRead.Close()
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return "", errors.Join(err, outWrite.Close())
	}
	defer errRead.Close()
	err = s.launch(outWrite, errWrite)
	err = errors.Join(err, outWrite.Close(), errWrite.Close())
	if err != nil {
		return "", err
	}
	// To the end, which is when it has closed them. The facts fit into a pipe.
	problem, err := io.ReadAll(errRead)
	facts, err2 := io.ReadAll(outRead)
	err = errors.Join(err, err2, s.reap())
	if err == nil && len(problem) == 0 && len(facts) == 0 && !s.isEnding() {
		err = errors.New("it was killed")
	}
	return string(problem), err
}

// reap waits for the process to end. Who waits for any child of this process may
// have been quicker; by a pidfd no other is meant.
func (s *snapshotter) reap() error {
	s.mu.Lock()
	pidfd := s.pidfd
	s.mu.Unlock()
	if pidfd < 0 {
		return nil
	}
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED, nil).(unix.Errno)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pidfd = -1
	if err != 0 && err != unix.ECHILD {
		return errors.Join(fmt.Errorf("wait for it: %w", err), unix.Close(pidfd))
	}
	return unix.Close(pidfd)
}

// launch starts the process. It is told what to do by the job's name, as a user
// tells it.
func (s *snapshotter) launch(stdout, stderr *os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	argv := []string{snapshotterName, "snapshot", s.job.Name, "--json",
		"--dir", filepath.Dir(s.job.dir), "--keep", strconv.Itoa(s.plan.Keep)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return nil
	}
	_, err = syscall.ForkExec(ownProgram(), argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &s.pidfd},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", snapshotterName, err)
	}
	return nil
}

// ownProgram is the path of the program of this process. Another file may have
// taken its place by now; that is not run.
func ownProgram() string {
	const self = "/proc/self/exe"
	path, err := os.Readlink(self)
	if err != nil {
		return self
	}
	named, err := os.Stat(path)
	if err != nil {
		return self
	}
	if own, err := os.Stat(self); err != nil || !os.SameFile(own, named) {
		return self
	}
	return path
}

// isSnapshotter reports whether a child of a supervisor takes a snapshot for it,
// or is about to: it has the supervisor's own arguments until it is executed.
// What has no memory any more is ending, and so of no account either.
func isSnapshotter(pid, supervisor int) bool {
	exe, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	ours, err := os.Stat(fmt.Sprintf("/proc/%d/exe", supervisor))
	if err != nil || !os.SameFile(exe, ours) {
		return false
	}
	args, err := procfs.Cmdline(pid)
	if err != nil || len(args) == 0 {
		return true // it is ending since
	}
	own, err := procfs.Cmdline(supervisor)
	return args[0] == snapshotterName || err == nil && slices.Equal(args, own)
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
