package taskstate

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// FS is where a task looks for files: what CLONE_FS shares.
type FS struct {
	Cwd   string      `cbor:"1,keyasint" json:"cwd"`
	Umask int         `cbor:"2,keyasint" json:"umask"`
	Root  string      `cbor:"3,keyasint,omitempty" json:"root,omitempty"`        // empty: not changed by chroot(2)
	Gone  *RemovedDir `cbor:"4,keyasint,omitempty" json:"cwd_removed,omitempty"` // Cwd is where it was
}

// RemovedDir is a working directory that somebody has removed. It was empty
// then, and stays so: nothing can be made in it.
type RemovedDir struct {
	Mode uint32 `cbor:"1,keyasint" json:"mode"`
	UID  int    `cbor:"2,keyasint" json:"uid"`
	GID  int    `cbor:"3,keyasint" json:"gid"`
}

// ErrMoved says that a directory's path leads elsewhere now.
var ErrMoved = errors.New("its path leads to another directory")

// ReadFS reads from outside where a task looks for files.
func ReadFS(tid task.TID) (FS, error) {
	var f FS
	st, err := procfs.ReadStatus(int(tid))
	if err != nil {
		return f, err
	}
	f.Umask = st.Umask
	if f.Root, err = procfs.Root(int(tid)); err != nil {
		return f, err
	}
	if f.Root == "/" {
		f.Root = ""
	}
	if f.Cwd, err = procfs.Cwd(int(tid)); err != nil {
		return f, err
	}
	var now unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/cwd", tid), &now); err != nil {
		return f, err
	}
	if now.Nlink == 0 { // as of a directory that was removed (man 2 rmdir)
		f.Cwd = strings.TrimSuffix(f.Cwd, " (deleted)")
		f.Gone = &RemovedDir{Mode: now.Mode & 0o7777, UID: int(now.Uid), GID: int(now.Gid)}
		return f, nil
	}
	for dir, link := range map[string]string{f.Cwd: "cwd", f.Root: "root"} {
		if err := leads(tid, dir, link); err != nil && dir != "" {
			return f, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return f, nil
}

// leads checks that a path leads to the directory that a task has.
func leads(tid task.TID, dir, link string) error {
	var there, now unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/%s", tid, link), &now); err != nil {
		return err
	}
	if err := unix.Stat(procfs.Reach(int(tid), dir), &there); err != nil {
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	if there.Dev != now.Dev || there.Ino != now.Ino {
		return ErrMoved
	}
	return nil
}

// captureFS records the directories of a process, and those of a thread that
// has left it (unshare(2) with CLONE_FS).
func captureFS(c *capture) (err error) {
	c.rec.FS, err = ReadFS(c.held.Leader().TID)
	return err
}

func captureThreadFS(c *threadCapture) error {
	if c.left.FS != c.held.ID {
		return nil
	}
	own, err := ReadFS(c.held.TID)
	c.rec.FS = &own
	return err
}

// leftFS tells whether a thread has directories of its own.
func leftFS(t *task.Thread) (bool, error) {
	order, err := task.Compare(t.Proc.Leader().TID, t.TID, task.PartFS)
	return order != 0, err
}

// FSProblem says which directories of a process a restart would not find
// again, and why, or nothing.
func FSProblem(held *task.Process) string {
	for i, t := range held.Threads {
		left, err := leftFS(t)
		if err == nil && (left || i == 0) {
			_, err = ReadFS(t.TID)
		}
		if err != nil {
			return err.Error()
		}
	}
	return ""
}

func restoreFS(r *restore) error {
	if r.rec.Shares.FS != 0 {
		return nil // has been done, and paths may mean something else now
	}
	return r.rec.FS.restore(r.held.Leader(), &r.batch)
}

// restoreThreadFS: the thread was made with directories of its own.
func restoreThreadFS(r *threadRestore) error {
	if r.rec.FS == nil {
		return nil
	}
	return r.rec.FS.restore(r.held, r.batch)
}

// restore has a thread go to the directories. The root comes last: it changes
// what paths mean.
func (f *FS) restore(t *task.Thread, b *task.Batch) error {
	if f.Gone != nil {
		if err := f.enterRemoved(t); err != nil {
			return fmt.Errorf("working directory %s: %w", f.Cwd, err)
		}
	} else {
		enter(b, "working directory", unix.SYS_CHDIR, f.Cwd)
	}
	if f.Root != "" {
		enter(b, "root directory", unix.SYS_CHROOT, f.Root)
	}
	b.Add(unix.SYS_UMASK, f.Umask)
	return nil
}

func enter(b *task.Batch, what string, nr uintptr, dir string) {
	c := b.Add(nr, dir).Optional()
	b.Then(func() error {
		if err := c.Err(); err != nil {
			return fmt.Errorf("%s %s: %w", what, dir, err)
		}
		return nil
	})
}

// enterRemoved makes a directory, enters and removes it. Where none can be
// made at the old place, or somebody has made one since, it lay elsewhere.
func (f *FS) enterRemoved(t *task.Thread) error {
	name := fmt.Sprintf("%s.removed.%d", path.Base(f.Cwd), t.ID)
	var errs []error
	for _, dir := range []string{f.Cwd, path.Join(path.Dir(f.Cwd), name), path.Join("/tmp", name), path.Join("/dev/shm", name)} {
		_, err := t.Call(unix.SYS_MKDIR, dir, 0o700)
		if err == nil {
			return f.leaveBehind(t, dir)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (f *FS) leaveBehind(t *task.Thread, dir string) error {
	var b task.Batch
	b.Add(unix.SYS_CHDIR, dir)
	b.Add(unix.SYS_CHOWN, dir, f.Gone.UID, f.Gone.GID).Optional() // as far as this user may
	b.Add(unix.SYS_CHMOD, dir, f.Gone.Mode)
	b.Add(unix.SYS_RMDIR, dir)
	return t.Run(&b)
}
