package virtual

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// sockaddr is a struct sockaddr of any family.
type sockaddr []byte

// Offsets in struct sockaddr_in and sockaddr_in6.
const (
	portAt, addr4At, addr6At = 2, 4, 8
)

// ip gives where the IP address lies, or nil.
func (s sockaddr) ip() []byte {
	if len(s) < 2 {
		return nil
	}
	switch family := binary.NativeEndian.Uint16(s); {
	case family == unix.AF_INET && len(s) >= unix.SizeofSockaddrInet4:
		return s[addr4At : addr4At+4]
	case family == unix.AF_INET6 && len(s) >= addr6At+16: // scope ids may be left out
		return s[addr6At : addr6At+16]
	}
	return nil
}

// replace puts the address that to gives for it into s, and tells whether there
// was one.
func (s sockaddr) replace(to func(netip.Addr) (netip.Addr, bool)) bool {
	field := s.ip()
	old, ok := netip.AddrFromSlice(field)
	if !ok {
		return false
	}
	wanted, ok := to(old.Unmap())
	if !ok {
		return false
	}
	if len(field) == 16 {
		b := wanted.As16()
		copy(field, b[:])
	} else {
		b := wanted.As4()
		copy(field, b[:])
	}
	return true
}

// toReal gives what is used instead of an address that the program uses.
func (r *Rules) toReal(seen netip.Addr) (netip.Addr, bool) {
	for i := range r.Addresses {
		if s, real, err := r.Addresses[i].parse(); err == nil && s == seen && real != seen {
			return real, true
		}
	}
	return netip.Addr{}, false
}

// toSeen is the way back.
func (r *Rules) toSeen(real netip.Addr) (netip.Addr, bool) {
	for i := range r.Addresses {
		if seen, a, err := r.Addresses[i].parse(); err == nil && a == real && a != seen {
			return seen, true
		}
	}
	return netip.Addr{}, false
}

// useAddress answers connect(2) and bind(2).
func (a *answerer) useAddress(t *caller) answer {
	size := t.args[2]
	if size < unix.SizeofSockaddrInet4 || size > unix.SizeofSockaddrAny {
		return pass
	}
	addr := make(sockaddr, size)
	if t.readAll(addr, t.args[1]) != nil || !addr.replace(a.rules.toReal) {
		return pass
	}
	fd, err := t.descriptor(int(int32(t.args[0])))
	if err != nil {
		return pass
	}
	defer unix.Close(fd)
	if t.nr&^x32Bit == unix.SYS_BIND {
		if !t.mayBind(addr) {
			return failed(unix.EACCES)
		}
		return failed(bindRaw(fd, addr))
	}
	return connect(fd, addr)
}

// mayBind: the kernel asks for the capability of who binds, which is us.
func (t *caller) mayBind(addr sockaddr) bool {
	port := binary.BigEndian.Uint16(addr[portAt:])
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return false
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || port == 0 || int(port) >= first {
		return err == nil
	}
	st, err := procfs.ReadStatus(int(t.tid))
	return err == nil && st.CapEff&(1<<unix.CAP_NET_BIND_SERVICE) != 0
}

// connect begins to connect for the program. Where that takes its time, the
// program waits in its own call, so that signals and snapshots find it there:
// connect(2) on a socket that is connecting already waits until it is connected,
// whatever its address (Linux net/ipv4/af_inet.c:__inet_stream_connect, v6.18).
//
// What keeps our own call from waiting is a time-out of the socket, for a moment:
// O_NONBLOCK would be seen by others who use the socket now.
func connect(fd int, addr []byte) answer {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return failed(errnoOf(err))
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return failed(errnoOf(err))
	}
	if kind != unix.SOCK_STREAM || flags&unix.O_NONBLOCK != 0 {
		return failed(connectRaw(fd, addr))
	}
	old, err := sendTimeout(fd)
	if err != nil {
		return failed(errnoOf(err))
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 1}); err != nil {
		return failed(errnoOf(err))
	}
	errno := connectRaw(fd, addr)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &old) // it was like that
	switch errno {
	case unix.EINPROGRESS, unix.EALREADY, unix.EINTR: // the last by a signal of the Go runtime
		return pass
	}
	return failed(errno)
}

// tellAddress answers getsockname(2) and getpeername(2).
func (a *answerer) tellAddress(t *caller) answer {
	fd, err := t.descriptor(int(int32(t.args[0])))
	if err != nil {
		return pass
	}
	defer unix.Close(fd)
	name, errno := nameRaw(uintptr(t.nr&^x32Bit), fd)
	addr := sockaddr(slices.Clone(name))
	if errno != 0 || !addr.replace(a.rules.toSeen) {
		return pass
	}
	size := make([]byte, 4)
	if t.readAll(size, t.args[2]) != nil {
		return pass
	}
	room := int32(binary.NativeEndian.Uint32(size))
	if room < 0 {
		return failed(unix.EINVAL)
	}
	if n := min(int(room), len(addr)); n > 0 {
		if errno := t.write(t.args[1], addr[:n]); errno != 0 {
			return failed(errno)
		}
	}
	binary.NativeEndian.PutUint32(size, uint32(len(addr)))
	return failed(t.write(t.args[2], size))
}
