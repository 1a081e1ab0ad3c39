package netstate

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of unix sockets are bytes: golang.org/x/sys/unix cuts abstract ones at
// a zero byte. So these calls give and take struct sockaddr_un as it is.

// rawName is the name in a struct sockaddr_un.
func rawName(at Addr) []byte {
	if len(at) <= 2 {
		return nil
	}
	return at[2:]
}

// sockaddr is a name as struct sockaddr_un.
func sockaddr(name []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, unix.AF_UNIX), name...)
}

func rawPeerName(fd int) ([]byte, error) {
	at, err := addrOf(unix.SYS_GETPEERNAME, fd)
	return rawName(at), err
}

// recvmsg is recvmsg(2). from is the sender's name.
func recvmsg(fd int, data, oob []byte, flags int) (n, oobn, got int, from []byte, err error) {
	n, oobn, got, at, err := receive(fd, data, oob, flags)
	return n, oobn, got, rawName(at), err
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
	if to == nil {
		return sendTo(fd, data, oob, nil)
	}
	return sendTo(fd, data, oob, sockaddr(to))
}
