package netstate

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Addr is an address as the kernel gives it: a struct sockaddr of any family.
type Addr []byte

// inetAddr is the address of a family.
func inetAddr(domain int, at netip.AddrPort) Addr {
	le, be := binary.LittleEndian, binary.BigEndian
	b := le.AppendUint16(nil, uint16(domain))
	b = be.AppendUint16(b, at.Port())
	if domain == unix.AF_INET {
		ip := at.Addr().Unmap().As4()
		return append(append(b, ip[:]...), make([]byte, 8)...)
	}
	ip := at.Addr().As16()
	b = append(append(b, 0, 0, 0, 0), ip[:]...)
	return append(b, 0, 0, 0, 0)
}

// family is the address family.
func (a Addr) family() int {
	if len(a) < 2 {
		return unix.AF_UNSPEC
	}
	return int(binary.LittleEndian.Uint16(a))
}

// inet gives address and port of AF_INET and AF_INET6.
func (a Addr) inet() (at netip.AddrPort, ok bool) {
	switch {
	case a.family() == unix.AF_INET && len(a) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), binary.BigEndian.Uint16(a[2:])), true
	case a.family() == unix.AF_INET6 && len(a) >= unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[8:24])), binary.BigEndian.Uint16(a[2:])), true
	}
	return netip.AddrPort{}, false
}

// scope is the interface that an address of AF_INET6 is meant on.
func (a Addr) scope() uint32 {
	if a.family() != unix.AF_INET6 || len(a) < unix.SizeofSockaddrInet6 {
		return 0
	}
	return binary.LittleEndian.Uint32(a[24:])
}

func (a Addr) String() string {
	if at, ok := a.inet(); ok {
		return at.String()
	}
	return hex.EncodeToString(a)
}

// MarshalJSON is for those who inspect an image.
func (a Addr) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }
