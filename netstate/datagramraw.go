package netstate

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sendRaw sends a datagram from any address. It arrives as it was made, since
// what a host sends to itself is not asked whence it comes (Linux
// net/ipv4/ip_input.c:ip_rcv_finish_core, v6.12: it has its route already).
// What was one with many segments comes as many.
func (s *sender) sendRaw(protocol int, m *Packet, to netip.AddrPort) error {
	from, _ := m.From.inet()
	size := len(m.Data)
	if m.Segment > 0 {
		size = m.Segment
	}
	for rest := m.Data; ; {
		part := rest[:min(size, len(rest))]
		rest = rest[len(part):]
		if _, err := sendTo(s.fd, ipPacket(protocol, m, from, to, part), nil, inetAddr(s.domain, netip.AddrPortFrom(to.Addr(), 0))); err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
	}
}

const (
	ipHeader  = 20
	ip6Header = 40
	udpHeader = 8
)

// ipPacket puts the headers before the data. The kernel fills in length and
// checksum of the header of IPv4 (man 7 raw).
func ipPacket(protocol int, m *Packet, from, to netip.AddrPort, data []byte) []byte {
	be := binary.BigEndian
	var b []byte
	if src, dst := from.Addr().Unmap(), to.Addr().Unmap(); dst.Is4() {
		b = make([]byte, ipHeader, ipHeader+udpHeader+len(data))
		b[0], b[1], b[8], b[9] = 0x45, byte(m.Class), byte(m.ttl()), byte(protocol)
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
	} else {
		b = make([]byte, ip6Header, ip6Header+udpHeader+len(data))
		be.PutUint32(b, 6<<28|uint32(m.Class)<<20)
		be.PutUint16(b[4:], uint16(udpHeader+len(data)))
		b[6], b[7] = byte(protocol), byte(m.ttl())
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
	}
	head := len(b)
	b = be.AppendUint16(b, from.Port())
	b = be.AppendUint16(b, to.Port())
	length := uint16(udpHeader + len(data))
	if protocol == unix.IPPROTO_UDPLITE {
		length = 0 // the checksum is about all of it
	}
	b = be.AppendUint16(b, length)
	b = be.AppendUint16(b, 0)
	b = append(b, data...)
	be.PutUint16(b[head+6:], udpChecksum(protocol, from.Addr().Unmap(), to.Addr().Unmap(), b[head:]))
	return b
}

// udpChecksum is the checksum of RFC 768 and RFC 8200, about addresses too.
func udpChecksum(protocol int, from, to netip.Addr, udp []byte) uint16 {
	sum := uint32(protocol) + uint32(len(udp))
	for _, part := range [][]byte{from.AsSlice(), to.AsSlice(), udp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(part[i]) << 8
			if i+1 < len(part) {
				sum += uint32(part[i+1])
			}
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	if sum == 0xffff {
		return 0xffff // 0 would say that there is none
	}
	return ^uint16(sum)
}
