package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"supervise/control"
	"supervise/internal/procfs"
	"supervise/plugins"
)

// AttachOptions say of which tree to become the supervisor.
type AttachOptions struct {
	Target   string // pid of the root, or the name of a job without a supervisor
	Name     string // of the job; COMMAND-PID when empty
	Dir      string // of jobs
	Program  string // our own version
	Policy   string // file that snapshots of it go by; without it, as before
	Schedule Schedule
	Plugins  []plugins.Spec // besides those that the job had
}

// Attached is a tree that this process has not started but is the supervisor of.
type Attached struct {
	Root int
	Name string // of the job

	pidfd int // of the root, so that its end is seen though it is nobody's child here
	fresh bool
	job   *registered
	ctl   *controller
	snaps *snapshotter
}

// SupervisedError says that a tree has a supervisor.
type SupervisedError struct {
	Job        string
	Supervisor int // pid
}

func (e *SupervisedError) Error() string {
	return fmt.Sprintf("job %s has a supervisor, pid %d", e.Job, e.Supervisor)
}

// Attach makes this process the supervisor of a tree that it has not started: it
// is recorded, so that the tree is found by name, and takes snapshots regularly
// if asked to. The tree does not notice. Descendants whose parent ends become
// children of whom they would have become anyhow, and so leave the tree.
func Attach(o AttachOptions) (*Attached, error) {
	target, err := FindTarget(o.Dir, o.Target, "")
	if err != nil {
		return nil, err
	}
	root := int(target.Root())
	if err := canHold(root); err != nil {
		return nil, err
	}
	a := &Attached{Root: root}
	if a.pidfd, err = unix.PidfdOpen(root, 0); err != nil {
		return nil, fmt.Errorf("pidfd_open of pid %d: %w", root, err)
	}
	if err := a.record(&o, target); err != nil {
		return nil, errors.Join(err, unix.Close(a.pidfd))
	}
	a.Name = a.job.Name
	if a.ctl, err = startControl(a.job, o.Program, control.Options{Generation: a.job.Generation}); err != nil {
		return nil, errors.Join(err, a.letGo(), unix.Close(a.pidfd))
	}
	a.ctl.takeOver(a.job.ProgramSocket)
	a.snaps = startSchedule(a.job, o.Schedule)
	return a, nil
}

// canHold reports whether this user may hold a process: to open its memory takes
// the same right (Linux fs/proc/base.c:mem_open, PTRACE_MODE_ATTACH, v6.12).
func canHold(pid int) error {
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if procfs.Gone(err) {
		return &goneError{fmt.Sprintf("pid %d: no such process", pid)}
	}
	if err != nil {
		return fmt.Errorf("attach to pid %d: %w", pid, err)
	}
	return mem.Close()
}

// record enters this process as the supervisor, in a new record or in that of
// the job that the tree is: one restarted with --detach, or one whose supervisor
// was killed.
func (a *Attached) record(o *AttachOptions, target *Target) error {
	if err := makeDir(o.Dir); err != nil {
		return err
	}
	lock, err := lockJobs(o.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	// Somebody else may have been quicker.
	if target, err = target.again(); err != nil {
		return err
	}
	j := target.job
	if a.fresh = j == nil; a.fresh {
		if j, err = newJob(a.Root, target.parent); err != nil {
			return err
		}
		if j.Name, err = freeName(o.Dir, o.Name, target.Name); err != nil {
			return err
		}
	}
	switch {
	case j.Supervisor.alive():
		return &SupervisedError{j.Name, j.Supervisor.PID}
	case o.Name != "" && o.Name != j.Name:
		return &NameError{o.Name, fmt.Sprintf("pid %d is the job %s", a.Root, j.Name)}
	}
	if j.Supervisor, err = processOf(os.Getpid()); err != nil {
		return err
	}
	j.Attached, j.Interval, j.Keep, j.Failure = true, o.Schedule.Interval, o.Schedule.Keep, nil
	if o.Policy != "" {
		j.Policy = o.Policy
	}
	j.Plugins = joinPlugins(j.Plugins, o.Plugins)
	a.job, err = enter(o.Dir, *j)
	return err
}

// newJob describes a tree that is no job.
func newJob(root, parent int) (*Job, error) {
	p, err := processOf(root)
	if err != nil {
		return nil, err
	}
	j := &Job{Root: p}
	j.Parent, _ = processOf(parent)
	j.Command, _ = procfs.Cmdline(root)
	j.Cwd, _ = procfs.Cwd(root)
	return j, nil
}

// Wait waits until the tree has ended, or ctx is done: then it lets the tree go,
// which runs on. It reports whether the tree has ended.
func (a *Attached) Wait(ctx context.Context) (ended bool, err error) {
	end := make(chan error, 1)
	go func() { end <- awaitEnd(a.pidfd) }()
	select {
	case <-ctx.Done():
	case err = <-end:
		ended = true
	}
	a.snaps.end()
	a.ctl.end()
	if !ended {
		return false, a.letGo()
	}
	goneHooks(a.job)
	return true, errors.Join(err, a.job.remove())
}

// letGo leaves the record as it was before.
func (a *Attached) letGo() error {
	if a.fresh {
		return a.job.remove()
	}
	a.job.update(func(j *Job) {
		j.Supervisor, j.Attached, j.Interval, j.Keep, j.Failure, j.Socket = Process{}, false, 0, 0, nil, ""
	})
	return nil
}

// awaitEnd waits until a process has ended. Its parent need not have asked for
// its status.
func awaitEnd(pidfd int) error {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("wait for a process: %w", err)
		}
	}
}
