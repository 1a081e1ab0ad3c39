package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"supervise/control"
)

// A control socket lies in its job's directory. Where that path would be too
// long for one (man 7 unix), or no socket can be made there, it lies in the
// socket directory: one for each user, with a name for each job. So the next
// supervisor of a job takes the place of one that was killed, and that of any
// job clears away what killed ones have left.

// socketDir is this user's. Its path is short.
func socketDir() string {
	const mostOfName = 64
	if base := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(base) && len(base)+len("/supervise/")+mostOfName <= control.MaxPath {
		return filepath.Join(base, "supervise")
	}
	return filepath.Join("/tmp", "supervise-"+strconv.Itoa(os.Geteuid()))
}

// socketName is that of a job's socket in the socket directory.
func socketName(jobDir string) string {
	const most = 40
	sum := sha256.Sum256([]byte(jobDir))
	name := filepath.Base(jobDir)
	return name[:min(len(name), most)] + "-" + hex.EncodeToString(sum[:8])
}

// withSocketDir calls fn with the directory made and locked, so that no
// socket of somebody who is about to listen is taken for one that was left.
func withSocketDir(dir string, fn func() error) error {
	for {
		if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := checkPrivate(dir); err != nil {
			return err
		}
		lock, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			return errors.Join(fmt.Errorf("lock %s: %w", dir, err), lock.Close())
		}
		if !sameFile(lock, dir) { // whoever had it has removed the directory
			lock.Close()
			continue
		}
		return errors.Join(fn(), lock.Close())
	}
}

// sameFile tells whether a path leads to an open file.
func sameFile(f *os.File, path string) bool {
	open, err1 := f.Stat()
	named, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(open, named)
}

// listenApart listens in the socket directory.
func (c *controller) listenApart(jobDir string) (path string, err error) {
	dir := socketDir()
	path = filepath.Join(dir, socketName(jobDir))
	err = withSocketDir(dir, func() error {
		control.RemoveLeft(dir)
		return c.server.Listen(path)
	})
	c.apart = dir
	return path, err
}

// leaveSocketDir removes the socket directory when it is empty.
func (c *controller) leaveSocketDir() {
	if c.apart != "" {
		_ = withSocketDir(c.apart, func() error { return os.Remove(c.apart) })
	}
}
