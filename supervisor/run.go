package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/control"
	"supervise/internal/nouring"
	"supervise/plugins"
	"supervise/plugins/client"
	"supervise/virtual"
)

// RunOptions say what to start.
type RunOptions struct {
	Command []string
	Name    string // of the job; made from the command when empty
	Dir     string // of jobs
	Program string // our own version
	Policy  string // file that snapshots of it go by, or ""

	NoIoUring bool           // the program shall believe that there is no io_uring
	Virtual   *virtual.Rules // what it shall see of this host, or nil
	Schedule  Schedule
	Plugins   []plugins.Spec
}

// Run starts a command as a job, stands for it until it ends, and gives its
// wait status. The error is a *StartError when the command could not be
// started. Once it runs, nothing is an error: it is not held up by what goes
// wrong here.
func Run(o RunOptions) (syscall.WaitStatus, error) {
	in, err := readInherited()
	if err != nil {
		return 0, err
	}
	self, err := processOf(os.Getpid())
	if err != nil {
		return 0, err
	}
	cwd, _ := os.Getwd() // only told to people; it may have been removed
	job, err := register(o.Dir, o.Name, o.Command[0], Job{Supervisor: self, Command: o.Command, Cwd: cwd, Policy: o.Policy, NoIoUring: o.NoIoUring, Virtual: o.Virtual,
		Interval: o.Schedule.Interval, Keep: o.Schedule.Keep, Plugins: o.Plugins})
	if err != nil {
		return 0, fmt.Errorf("record the job: %w", err)
	}
	if err := becomeSubreaper(); err != nil {
		return 0, errors.Join(err, job.remove())
	}
	ctl, err := startControl(job, o.Program, control.Options{})
	if err != nil {
		return 0, errors.Join(err, job.remove())
	}
	ctl.again.Plugins = o.Plugins
	in.environ = setVariable(in.environ, client.SocketVariable, job.Socket)
	job.update(func(j *Job) { j.ProgramSocket = j.Socket })
	s, err := startProgram(&in, &o)
	if err != nil {
		ctl.end()
		return 0, errors.Join(err, job.remove())
	}
	job.setRoot(s.root)
	_ = releaseInherited(o.Schedule.Interval > 0)
	startSchedule(job, o.Schedule)
	ws, err := s.waitChild()
	ctl.standAside()
	ctl.end()
	goneHooks(job)
	_ = job.remove()
	return ws, err
}

// setVariable sets a variable of an environment, in its place if it is there.
func setVariable(environ []string, name, value string) []string {
	set := name + "=" + value
	for i, v := range environ {
		if strings.HasPrefix(v, name+"=") {
			environ[i] = set
			return environ
		}
	}
	return append(environ, set)
}

// becomeSubreaper makes orphaned descendants children of this process.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a child subreaper: %w", err)
	}
	return nil
}

// setRoot records that the tree runs. Should that fail, the tree can still be
// found by its pid.
func (r *registered) setRoot(pid int) {
	root, err := processOf(pid)
	if err != nil {
		return
	}
	r.update(func(j *Job) { j.Root = root })
}

// startProgram starts the command and begins to stand for it. Signals that
// come before it can be stood for are kept and passed on then.
func startProgram(in *inherited, o *RunOptions) (*standIn, error) {
	early := make(chan os.Signal, lastSignal)
	for _, sig := range catchable() {
		if sig != unix.SIGURG && sig != unix.SIGCHLD {
			signal.Notify(early, sig)
		}
	}
	var pid int
	start := func() error {
		return in.start(func() (err error) {
			pid, err = launch(o.Command, in.environ)
			return err
		})
	}
	var err error
	if o.NoIoUring || o.Virtual != nil {
		err = o.confined(start)
	} else {
		err = start()
	}
	if err != nil {
		return nil, err
	}
	s, err := newStandIn(pid, nil)
	if err != nil {
		return nil, errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	}
	go s.forwardEarly(early)
	return s, nil
}

// confined runs fn on a thread that has the filters which the program is to have:
// its children inherit them. The thread is of no more use, but stays: the program may have
// asked for a signal when it ends (man 2 prctl, PR_SET_PDEATHSIG).
func (o *RunOptions) confined(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := o.confine()
		if err == nil {
			err = fn()
		}
		done <- err
		select {}
	}()
	return <-done
}

// confine installs the filters in this thread. The answerer is started by another
// thread, which is not under them.
func (o *RunOptions) confine() error {
	if o.Virtual != nil {
		if err := virtualize(o.Virtual); err != nil {
			return err
		}
	}
	if !o.NoIoUring {
		return nil
	}
	return nouring.Confine()
}

// forwardEarly passes on what came before the relay was there. The runtime may
// take its time to hand it out.
func (s *standIn) forwardEarly(early <-chan os.Signal) {
	for received := range early {
		if sig, ok := received.(syscall.Signal); ok && sig != unix.SIGPIPE {
			_ = unix.PidfdSendSignal(s.pidfd, sig, nil, 0)
		}
	}
}

// waitChild waits for the end of root, a child of this process, and reaps
// adopted orphans meanwhile.
func (s *standIn) waitChild() (syscall.WaitStatus, error) {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, unix.WUNTRACED|unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait for pid %d: %w", s.root, err)
		case pid != s.root:
		case ws.Stopped():
			if err := s.mirrorStop(ws.StopSignal()); err != nil {
				return 0, err
			}
		default:
			return ws, nil
		}
	}
}
