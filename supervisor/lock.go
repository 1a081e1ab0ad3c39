package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// ErrBusy says that another supervise takes a snapshot of a job, or removes
// images of it.
var ErrBusy = errors.New("another snapshot of it is being taken")

// lockJob takes the lock of a job, so that two do not take snapshots of it or
// remove its images at the same time. It makes the job's directory where it is
// missing, and waits until ctx is done; then the error is ErrBusy. The lock
// goes with the file, and so with the process that holds it.
func lockJob(ctx context.Context, jobDir string) (*os.File, error) {
	if err := makeDir(filepath.Dir(jobDir)); err != nil {
		return nil, err
	}
	for {
		if err := os.Mkdir(jobDir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		lock, err := lockThere(ctx, jobDir)
		// Who had the lock before may have removed an empty directory.
		if !errors.Is(err, fs.ErrNotExist) {
			return lock, err
		}
	}
}

// locks are locks of jobs that are held together.
type locks []*os.File

func (l locks) close() {
	for _, f := range l {
		f.Close()
	}
}

// lockTree takes the lock of a tree, which lies on its root's memory: only who
// may trace the root can open that, and it is the same file for all who look
// at one /proc, for as long as somebody has it open. It gives nil where it
// cannot be opened: what is wrong, the snapshot will tell.
func lockTree(ctx context.Context, root task.PID) (*os.File, error) {
	lock, err := os.Open(fmt.Sprintf("/proc/%d/mem", root))
	if err != nil {
		return nil, nil
	}
	return waitForLock(ctx, lock, fmt.Sprintf("pid %d", root))
}

// lockThere is lockJob for a directory that exists. It fails with
// fs.ErrNotExist when that is no longer so.
func lockThere(ctx context.Context, jobDir string) (*os.File, error) {
	lock, err := os.Open(jobDir)
	if err != nil {
		return nil, err
	}
	if lock, err = waitForLock(ctx, lock, "job "+filepath.Base(jobDir)); err != nil {
		return nil, err
	}
	if err := sameDir(lock, jobDir); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// waitForLock locks a file, or closes it. what names it in an ErrBusy.
func waitForLock(ctx context.Context, lock *os.File, what string) (*os.File, error) {
	const pause = 20 * time.Millisecond
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return lock, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			lock.Close()
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		select {
		case <-ctx.Done():
			lock.Close()
			return nil, fmt.Errorf("%s: %w", what, ErrBusy)
		case <-time.After(pause):
		}
	}
}

// sameDir fails with fs.ErrNotExist when name is no longer the directory that
// is open.
func sameDir(open *os.File, name string) error {
	locked, err := open.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(name)
	if err == nil && !os.SameFile(locked, named) {
		err = fs.ErrNotExist
	}
	return err
}
