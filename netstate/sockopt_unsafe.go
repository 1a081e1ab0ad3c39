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

// sockaddrStorage has room for an address of any family (Linux
// include/uapi/linux/socket.h, struct __kernel_sockaddr_storage).
const sockaddrStorage = 128

// addrOf is getsockname(2) or getpeername(2), by the number of the call.
func addrOf(nr uintptr, fd int) (Addr, error) {
	buf, n := make([]byte, sockaddrStorage), uint32(sockaddrStorage)
	_, _, errno := unix.Syscall(nr, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return nil, errno
	}
	return buf[:min(n, sockaddrStorage)], nil
}

// useAddr is bind(2) or connect(2), by the number of the call.
func useAddr(nr uintptr, fd int, at Addr) error {
	_, _, errno := unix.Syscall(nr, uintptr(fd), uintptr(unsafe.Pointer(&at[0])), uintptr(len(at)))
	if errno != 0 {
		return errno
	}
	return nil
}

// sendTo is sendmsg(2) to an address, which may be nil.
func sendTo(fd int, data, oob []byte, to Addr) (int, error) {
	var msg unix.Msghdr
	if len(to) > 0 {
		msg.Name, msg.Namelen = &to[0], uint32(len(to))
	}
	attach(&msg, data, oob)
	r, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// receive is recvmsg(2). from is the sender's address.
func receive(fd int, data, oob []byte, flags int) (n, oobn, got int, from Addr, err error) {
	name := make([]byte, sockaddrStorage)
	msg := unix.Msghdr{Name: &name[0], Namelen: sockaddrStorage}
	attach(&msg, data, oob)
	r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags))
	if errno != 0 {
		return 0, 0, 0, nil, errno
	}
	return int(r), int(msg.Controllen), int(msg.Flags), name[:min(msg.Namelen, sockaddrStorage)], nil
}

// ioctlBytes is an ioctl(2) that fills b.
func ioctlBytes(fd int, request uint, b []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&b[0])))
	if errno != 0 {
		return errno
	}
	return nil
}

// ethtool asks for a value of an interface by SIOCETHTOOL, in the network
// namespace of a socket.
func ethtool(fd int, name string, command uint32) (uint32, error) {
	value := [2]uint32{command} // struct ethtool_value
	ifreq := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(ifreq.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq)))
	if errno != 0 {
		return 0, errno
	}
	return value[1], nil
}
