package fdstate

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Types of comparison (man 2 kcmp).
const (
	kcmpFileType = 0
	kcmpEpollTFD = 7
)

// kcmpFile orders two descriptors by the description they refer to; 0 means
// the same one. The order is random, but stable.
func kcmpFile(pid1 task.PID, fd1 int, pid2 task.PID, fd2 int) (int, error) {
	return kcmp(int(pid1), int(pid2), kcmpFileType, uintptr(fd1), uintptr(fd2))
}

// kcmpTarget tells whether descriptor fd of a process is what its epoll
// instance epfd watches as the nth target that was added under number added
// (Linux fs/eventpoll.c:get_epoll_tfile_raw_ptr, v6.12).
func kcmpTarget(pid task.PID, fd, epfd, added, nth int) (bool, error) {
	slot := [3]uint32{uint32(epfd), uint32(added), uint32(nth)} // struct kcmp_epoll_slot
	order, err := kcmp(int(pid), int(pid), kcmpEpollTFD, uintptr(fd), uintptr(unsafe.Pointer(&slot)))
	return order == 0, err
}

// kcmp gives -1, 0 or 1.
//
//go:uintptrescapes
func kcmp(pid1, pid2, kind int, idx1, idx2 uintptr) (int, error) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_KCMP, uintptr(pid1), uintptr(pid2), uintptr(kind), idx1, idx2, 0)
	if errno != 0 {
		return 0, fmt.Errorf("kcmp pid %d with pid %d: %w", pid1, pid2, errno)
	}
	switch r {
	case 0:
		return 0, nil
	case 1:
		return -1, nil
	}
	return 1, nil
}
