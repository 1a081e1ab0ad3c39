package nouring

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Confine installs the filter in this thread, for good. Processes that it
// starts inherit it. The caller has locked its goroutine to the thread, and lets
// the thread end.
//
// Without CAP_SYS_ADMIN the kernel wants no_new_privs for it, so that setuid
// programs get no privilege under it (man 2 seccomp).
func Confine() error {
	fprog := struct {
		length uint16
		filter unsafe.Pointer
	}{uint16(len(instructions)), unsafe.Pointer(unsafe.SliceData(program))}
	install := func() unix.Errno {
		// It is no sandbox, so there is nothing to defend by speculating less.
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
			unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&fprog)))
		runtime.KeepAlive(fprog)
		return errno
	}
	errno := install()
	if errno == unix.EACCES {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
		errno = install()
	}
	if errno != 0 {
		return fmt.Errorf("install the filter against io_uring: %w", errno)
	}
	return nil
}
