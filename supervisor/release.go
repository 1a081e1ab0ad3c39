package supervisor

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// releaseInherited lets go of what this process holds only because it was
// started with it, now that the program has it: the other end of a pipe is to
// see end of file, a lock to be released, a mount to be free, when the program
// is done with it. Standard error stays where it has no other end, or where there
// may be something to say.
func releaseInherited(speaks bool) error {
	if err := os.Chdir("/"); err != nil {
		return err
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	defer unix.Close(null)
	for fd := range 3 {
		if fd == 2 && (speaks || !hasOtherEnd(fd)) {
			continue
		}
		if err := unix.Dup3(null, fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return closeInherited()
}

// hasOtherEnd reports whether somebody can notice that fd is held open.
func hasOtherEnd(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	kind := st.Mode & unix.S_IFMT
	return kind == unix.S_IFIFO || kind == unix.S_IFSOCK
}

// closeInherited closes the descriptors above standard error that were
// inherited: those without close-on-exec, which all of our own have.
func closeInherited() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
	return nil
}
