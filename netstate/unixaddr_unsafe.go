package netstate

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of unix sockets are bytes: golang.org/x/sys/unix cuts abstract ones at
// a zero byte. So these calls give and take struct sockaddr_un as it is.

// sockaddrRoom has room for the longest name and the zero byte that the kernel
// adds to it (Linux net/unix/af_unix.c:unix_mkname_bsd, v6.12).
const sockaddrRoom = 2 + maxUnixPath + 2

// rawName is the name in the first n bytes of a struct sockaddr_un.
func rawName(b []byte, n uint32) []byte {
	if n <= 2 || int(n) > len(b) {
		return nil
	}
	return b[2:n]
}

// sockaddr is a name as struct sockaddr_un.
func sockaddr(name []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, unix.AF_UNIX), name...)
}

func rawPeerName(fd int) ([]byte, error) {
	buf, n := make([]byte, sockaddrRoom), uint32(sockaddrRoom)
	_, _, errno := unix.Syscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return nil, errno
	}
	return rawName(buf, n), nil
}

// recvmsg is recvmsg(2). from is the sender's name.
func recvmsg(fd int, data, oob []byte, flags int) (n, oobn, got int, from []byte, err error) {
	name := make([]byte, sockaddrRoom)
	msg := unix.Msghdr{Name: &name[0], Namelen: sockaddrRoom}
	attach(&msg, data, oob)
	r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags))
	if errno != 0 {
		return 0, 0, 0, nil, errno
	}
	return int(r), int(msg.Controllen), int(msg.Flags), rawName(name, msg.Namelen), nil
}

// attach completes a struct msghdr with data and control messages.
func attach(msg *unix.Msghdr, data, oob []byte) {
	msg.Iov = new(unix.Iovec)
	msg.SetIovlen(1)
	if len(data) > 0 {
		msg.Iov.Base = &data[0]
		msg.Iov.SetLen(len(data))
	}
	if len(oob) > 0 {
		msg.Control = &oob[0]
		msg.SetControllen(len(oob))
	}
}

// recvmsgShort is recvmsg(2) with one byte more than data has room for, at an
// address where nothing is.
func recvmsgShort(fd int, data []byte, flags int) (int, error) {
	const nothing = 8 // below any mapping
	type iovec struct{ base, size uintptr }
	parts := [2]iovec{{size: uintptr(len(data))}, {base: nothing, size: 1}}
	if len(data) > 0 {
		parts[0].base = uintptr(unsafe.Pointer(&data[0]))
	}
	msg := unix.Msghdr{Iov: (*unix.Iovec)(unsafe.Pointer(&parts[0]))}
	msg.SetIovlen(len(parts))
	r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags))
	runtime.KeepAlive(data)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// sendmsg is sendmsg(2) to a name, or to the peer.
func sendmsg(fd int, data, oob, to []byte) (int, error) {
	var msg unix.Msghdr
	if to != nil {
		addr := sockaddr(to)
		msg.Name, msg.Namelen = &addr[0], uint32(len(addr))
	}
	attach(&msg, data, oob)
	r, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
