package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/memimg"
	"supervise/plugins"
	"supervise/plugins/client"
	"supervise/restorer"
)

// A tree is replaced by an earlier snapshot of itself in these steps:
//
//  1. Everything is checked that can be checked: the image in full, and all
//     that a restart checks before it makes anything. If that fails, nothing
//     has happened.
//  2. What stands for the tree's standard streams is taken from its root.
//  3. The tree is killed. Whoever waits for it sees that it is being replaced,
//     and tells nobody that it has ended.
//  4. This process executes its own program anew, as supervise restart: pid,
//     session, terminal and parent stay as they are.
//
// After 3 there is no way back; should 4 fail, the process ends with the
// message of restart, and the snapshots are as they were.

// replacement is a tree that is being replaced.
type replacement struct {
	begun chan struct{} // closed when the tree is about to be killed
	ended chan struct{} // closed when nobody waits for it any more
}

func newReplacement() *replacement {
	return &replacement{begun: make(chan struct{}), ended: make(chan struct{})}
}

// standAside does not return when the tree that has just ended is being
// replaced: this process will be another.
func (c *controller) standAside() {
	if c == nil {
		return
	}
	select {
	case <-c.replace.begun:
		close(c.replace.ended)
		select {}
	default:
	}
}

// Restore replaces the tree by a snapshot of it.
func (c *controller) Restore(which string, answer func() (int, error), id int64) error {
	root, attached := c.job.rootOf()
	if attached {
		return &client.Error{Code: client.Unsupported, Message: "the tree was not started by its supervisor, so that it cannot be replaced",
			Hint: "end it, and use supervise restart"}
	}
	image, err := c.restorable(which)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	lock, err := lockJob(ctx, c.job.dir) // no snapshot is being taken
	if err != nil {
		return err
	}
	defer lock.Close()
	streams, err := streamsOf(root.PID)
	if err != nil {
		return err
	}
	defer closeFiles(streams)
	fd := -1
	if answer != nil {
		if fd, err = answer(); err != nil {
			return err
		}
		defer unix.Close(fd)
	}
	select {
	case <-c.replace.begun:
		return errors.New("the tree is being replaced already")
	default:
		close(c.replace.begun)
	}
	if err := c.killTree(); err != nil {
		return err
	}
	return c.execRestart(image.Dir, streams, fd, id)
}

// restorable finds the snapshot, and makes sure that it can be restarted.
func (c *controller) restorable(which string) (*StoredImage, error) {
	image, err := c.newestOr(which)
	if err != nil {
		return nil, err
	}
	if !confirm(image, nil) {
		return nil, &client.Error{Code: client.Damaged, Message: fmt.Sprintf("%s is %s: %v", image.Name(), image.State, image.Err)}
	}
	p, err := ReadPolicy(c.job.Policy)
	if err != nil {
		return nil, err
	}
	enough := errors.New("checked")
	options := restorer.Options{Image: image.Dir, Policy: p, Hook: func(p plugins.Phase) error {
		if p == plugins.Builder {
			return enough
		}
		return nil
	}}
	if err := c.again.check(&options, &image.Manifest); err != nil {
		return nil, err
	}
	_, err = restorer.Restart(options)
	var host *restorer.HostError
	switch {
	case errors.Is(err, enough):
		return image, nil
	case errors.As(err, &host):
		return nil, &client.Error{Code: client.Host, Message: err.Error(), Hint: host.Hint}
	case errors.Is(err, memimg.ErrDamaged):
		return nil, &client.Error{Code: client.Damaged, Message: err.Error()}
	}
	return nil, err
}

// newestOr finds the snapshot that a client names, or the newest good one.
func (c *controller) newestOr(which string) (*StoredImage, error) {
	if which != "" {
		return c.image(which)
	}
	image, err := NewestGood(c.jobsDir(), c.job.Name)
	if err == nil && image == nil || errors.Is(err, fs.ErrNotExist) {
		err = &client.Error{Code: client.NoImage, Message: fmt.Sprintf("job %s has no good snapshot", c.job.Name)}
	}
	return image, err
}

// streamsOf takes copies of a process's standard streams. One that is closed
// there is /dev/null here.
func streamsOf(pid int) ([]*os.File, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open of pid %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	var files []*os.File
	for num := range 3 {
		fd, err := unix.PidfdGetfd(pidfd, num, 0)
		if err == unix.EBADF {
			fd, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		}
		if err != nil {
			closeFiles(files)
			return nil, fmt.Errorf("copy descriptor %d of pid %d: %w", num, pid, err)
		}
		files = append(files, os.NewFile(uintptr(fd), strconv.Itoa(num)))
	}
	return files, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// killTree kills every process of the tree, and waits until none is left and
// nobody waits for it.
func (c *controller) killTree() error {
	const patience, pause = 20 * time.Second, 2 * time.Millisecond
	self := os.Getpid()
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) {
		children, err := procfs.Children(self)
		if err != nil {
			return err
		}
		left := 0
		for _, pid := range children {
			if c.adopted(pid, self) && taskState(pid) != 'Z' {
				left++
				killAll(pid)
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of the tree do not end", left)
		}
	}
	select {
	case <-c.replace.ended:
	case <-time.After(patience):
		return errors.New("the end of the tree was not seen")
	}
	for { // those that nobody has waited for
		pid, err := syscall.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
		if err != nil && err != unix.EINTR || pid == 0 {
			return nil
		}
	}
}

// killAll kills a process and its descendants.
func killAll(pid int) {
	children, _ := procfs.Children(pid)
	_ = unix.Kill(pid, unix.SIGKILL)
	for _, child := range children {
		killAll(child)
	}
}

// execRestart makes this process the supervisor of the tree in an image. It
// returns only if that fails.
func (c *controller) execRestart(image string, streams []*os.File, answer int, id int64) error {
	argv := []string{"supervise", "restart", image, "--dir", c.jobsDir()}
	if c.job.Policy != "" {
		argv = append(argv, "--policy", c.job.Policy)
	}
	// As it is now: not as it was when the image was made.
	argv = append(argv, "--interval", c.job.Interval.String(), "--keep", strconv.Itoa(c.job.Keep))
	argv = append(argv, c.again.args()...)
	if answer >= 0 {
		const high = 100 // above the standard streams
		fd, err := unix.FcntlInt(uintptr(answer), unix.F_DUPFD, high)
		if err != nil {
			return err
		}
		argv = append(argv, "--answer", fmt.Sprintf("%d:%d", fd, id))
	}
	for num, f := range streams {
		if err := unix.Dup3(int(f.Fd()), num, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	giveTerminal(unix.Getpgrp())
	c.server.StopListening()
	err := syscall.Exec(ownProgram(), argv, os.Environ())
	say(fmt.Sprintf("supervise: the tree is gone, and cannot be replaced: execute supervise: %v\n", err))
	os.Exit(125)
	return err
}
