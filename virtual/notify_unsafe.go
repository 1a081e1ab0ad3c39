package virtual

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif: a call that waits for an answer.
type notification struct {
	id    uint64
	tid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	err   int32 // negative errno
	flags uint32
}

// addfd is struct seccomp_notif_addfd.
type addfd struct {
	id         uint64
	flags      uint32
	srcfd      uint32
	newfd      uint32
	newfdFlags uint32
}

// listener is the descriptor that a filter asks through.
type listener int

func (l listener) ioctl(request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l), request, uintptr(arg))
	return errno
}

// receive waits for a call. ENOENT: it was interrupted since.
func (l listener) receive(n *notification) unix.Errno {
	*n = notification{} // it must be zero
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n))
}

// valid tells whether the call still waits: then its task lives, and what was
// found under its number is its own.
func (l listener) valid(id uint64) bool {
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == 0
}

// send answers a call. An error means that it is gone.
func (l listener) send(r response) {
	l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// sendFD answers a call with a copy of a descriptor of ours.
func (l listener) sendFD(id uint64, fd int, cloexec bool) unix.Errno {
	a := addfd{id: id, flags: unix.SECCOMP_ADDFD_FLAG_SEND, srcfd: uint32(fd)}
	if cloexec {
		a.newfdFlags = unix.O_CLOEXEC
	}
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
}

// hurry has the kernel switch from the one who waits to the other at once. Before
// v6.6 it cannot.
func (l listener) hurry() {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(l), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

// Install puts this thread under the filter, for good, and gives the listener.
// Processes that it starts inherit the filter. The caller has locked its
// goroutine to the thread.
//
// Without CAP_SYS_ADMIN the kernel wants no_new_privs for it, so that setuid
// programs get no privilege under it (man 2 seccomp).
func (r *Rules) Install() (fd int, err error) {
	fprog := struct {
		length  uint16
		program unsafe.Pointer
	}{uint16(len(r.Program) / insnSize), unsafe.Pointer(unsafe.SliceData(r.Program))}
	install := func() (int, unix.Errno) {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, r.Flags(), uintptr(unsafe.Pointer(&fprog)))
		return int(fd), errno
	}
	fd, errno := install()
	if errno == unix.EACCES {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, fmt.Errorf("set no_new_privs: %w", err)
		}
		fd, errno = install()
	}
	switch errno {
	case 0:
		return fd, nil
	case unix.EBUSY:
		return -1, fmt.Errorf("install a filter with a listener: one is there already (--virtualize inside of --virtualize?): %w", errno)
	}
	return -1, fmt.Errorf("install a filter with a listener: %w", errno)
}

// endedChild makes a child that ends at once. Between the two it makes nothing but
// the call, so that it does not matter that it is a copy of one thread alone.
//
//go:noinline
//go:norace
func endedChild() (pid int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if r == 0 && errno == 0 {
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return int(r), errno
}

// The calls below are made for the program, on sockets of its own, with bytes of
// its own: their addresses are not made anew.

func connectRaw(fd int, addr []byte) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr)))
	return errno
}

func bindRaw(fd int, addr []byte) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr)))
	return errno
}

// nameRaw is getsockname(2) or getpeername(2).
func nameRaw(nr uintptr, fd int) ([]byte, unix.Errno) {
	buf := make([]byte, unix.SizeofSockaddrAny)
	size := uint32(len(buf))
	_, _, errno := unix.Syscall(nr, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&size)))
	return buf[:min(int(size), len(buf))], errno
}

// sendTimeout gives SO_SNDTIMEO.
func sendTimeout(fd int) (tv unix.Timeval, err error) {
	size := uint32(unsafe.Sizeof(tv))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_SNDTIMEO,
		uintptr(unsafe.Pointer(&tv)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return tv, errno
	}
	return tv, nil
}

// unameBytes is a struct new_utsname as it lies in memory.
func unameBytes(name *unix.Utsname) []byte {
	return (*[unsafe.Sizeof(*name)]byte)(unsafe.Pointer(name))[:]
}
