package taskstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrConfined says that a thread is in a Landlock domain, or confined by
// another security module. Domains cannot be read back.
var ErrConfined = errors.New("it may not list its root directory, which is open to all: a Landlock domain or another security module is in the way")

// probeLandlock finds out whether a thread is in a Landlock domain that keeps it
// from listing its root directory, as nearly every one does. Nothing under /proc
// tells. Only a thread with no_new_privs can be in one, unless it had
// CAP_SYS_ADMIN when it entered (man 2 landlock_restrict_self).
func probeLandlock(c *threadCapture) error {
	const all = 0o005
	var root unix.Stat_t
	if c.status.NoNewPrivs == 0 {
		return nil
	}
	if err := unix.Stat(fmt.Sprintf("/proc/%d/root", c.held.TID), &root); err != nil || root.Mode&all != all {
		return err
	}
	fd, err := c.held.Call(unix.SYS_OPEN, "/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		return ErrConfined
	}
	if err != nil {
		return nil // no descriptor free, or the like: it says nothing
	}
	_, err = c.held.Call(unix.SYS_CLOSE, fd)
	return err
}
