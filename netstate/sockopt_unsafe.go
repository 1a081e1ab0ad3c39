package netstate

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// getsockopt fills value and gives its length.
func getsockopt(fd, level, name int, value []byte) (int, error) {
	size := uint32(len(value))
	var at unsafe.Pointer
	if size > 0 {
		at = unsafe.Pointer(&value[0])
	}
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(at), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(size), nil
}
