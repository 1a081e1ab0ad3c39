package virtual

import (
	"bytes"
	"encoding/binary"
	"net"

	"golang.org/x/sys/unix"
)

// hardwareAddr answers ioctl(2) with SIOCGIFHWADDR (man 7 netdevice).
func (a *answerer) hardwareAddr(t *caller) answer {
	name := make([]byte, unix.IFNAMSIZ)
	if t.args[1] != unix.SIOCGIFHWADDR || t.readAll(name, t.args[2]) != nil {
		return pass
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	for _, i := range a.rules.Hardware {
		mac, err := net.ParseMAC(i.Address)
		if i.Name != string(name) || err != nil {
			continue
		}
		if fd, err := t.descriptor(int(int32(t.args[0]))); err != nil {
			return pass
		} else if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
			unix.Close(fd)
			return pass // no socket
		} else {
			unix.Close(fd)
		}
		addr := make([]byte, 16) // struct sockaddr
		binary.NativeEndian.PutUint16(addr, unix.ARPHRD_ETHER)
		copy(addr[2:], mac)
		return failed(t.write(t.args[2]+unix.IFNAMSIZ, addr))
	}
	return pass
}
