package supervisor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/virtual"
)

// snapshotterName is what a process that takes a snapshot for a supervisor is
// called (argv[0]), so that it is not taken for an orphan of the tree.
const snapshotterName = "supervise-snapshot"

// errand is a snapshot that this process wants to be taken: the work of a
// process of its own, of our own program:
//
//   - This process waits for its children, of any kind. Were it the tracer, too, it
//     would get their ptrace-stops, and the tracer the death of the program.
//   - When this process is killed, the snapshot goes on and is finished, or is
//     given up as any other.
//   - It takes the job's lock, as one from cron does, so that they do not collide.
//
// That process has a session of its own, so that nothing from the keyboard comes
// to it, and says nothing unless the snapshot has failed. An errand may be run
// again when it is done.
type errand struct {
	mu     sync.Mutex
	pidfd  int // of the process at work, if runs
	runs   bool
	ending bool
}

// end ends the process at work, and lets no other begin.
func (e *errand) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ending = true
	if e.runs {
		_ = unix.PidfdSendSignal(e.pidfd, unix.SIGTERM, nil, 0)
	}
}

func (e *errand) isEnding() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ending
}

// run runs a command of supervise, and gives its facts and what it said of
// problems. The facts fit into a pipe.
func (e *errand) run(args ...string) (facts []byte, problem string, err error) {
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer outRead.Close()
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return nil, "", errors.Join(err, outWrite.Close())
	}
	defer errRead.Close()
	err = e.launch(args, outWrite, errWrite)
	err = errors.Join(err, outWrite.Close(), errWrite.Close())
	if err != nil {
		return nil, "", err
	}
	// To the end, which is when it has closed them.
	said, err := io.ReadAll(errRead)
	facts, err2 := io.ReadAll(outRead)
	err = errors.Join(err, err2, e.reap())
	if err == nil && len(said) == 0 && len(facts) == 0 && !e.isEnding() {
		err = errors.New("it was killed")
	}
	return facts, string(said), err
}

// reap waits for the process to end. Who waits for any child of this process may
// have been quicker; by a pidfd no other is meant.
func (e *errand) reap() error {
	e.mu.Lock()
	pidfd, runs := e.pidfd, e.runs
	e.mu.Unlock()
	if !runs {
		return nil
	}
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED, nil).(unix.Errno)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.runs = false
	if err != 0 && err != unix.ECHILD {
		return errors.Join(fmt.Errorf("wait for it: %w", err), unix.Close(pidfd))
	}
	return unix.Close(pidfd)
}

// launch starts the process. It is told what to do by the job's name, as a user
// tells it.
func (e *errand) launch(args []string, stdout, stderr *os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ending {
		return nil
	}
	_, err = syscall.ForkExec(ownProgram(), append([]string{snapshotterName}, args...), &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &e.pidfd},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", snapshotterName, err)
	}
	e.runs = true
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

// isHelper reports whether a child of a supervisor takes a snapshot for it
// or answers calls of the tree, or is about to: it has the supervisor's own arguments until it is executed.
// What has no memory any more is ending, and so of no account either.
func isHelper(pid, supervisor int) bool {
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
	return args[0] == snapshotterName || args[0] == virtual.AnswererName || err == nil && slices.Equal(args, own)
}
