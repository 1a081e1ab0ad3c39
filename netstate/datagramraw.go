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

// ipHead is the header of a packet with so much behind it. The kernel fills in
// length and checksum of that of IPv4 (man 7 raw).
func ipHead(protocol, class, ttl int, from, to netip.AddrPort, size int) []byte {
	src, dst := from.Addr().Unmap(), to.Addr().Unmap()
	if dst.Is4() {
		b := make([]byte, ipHeader, ipHeader+size)
		b[0], b[1], b[8], b[9] = 0x45, byte(class), byte(ttl), byte(protocol)
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		return b
	}
	b := make([]byte, ip6Header, ip6Header+size)
	binary.BigEndian.PutUint32(b, 6<<28|uint32(class)<<20)
	binary.BigEndian.PutUint16(b[4:], uint16(size))
	b[6], b[7] = byte(protocol), byte(ttl)
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return b
}

// ipPacket puts the headers before the data.
func ipPacket(protocol int, m *Packet, from, to netip.AddrPort, data []byte) []byte {
	be := binary.BigEndian
	b := ipHead(protocol, m.Class, m.ttl(), from, to, udpHeader+len(data))
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
	be.PutUint16(b[head+6:], checksum(protocol, from.Addr().Unmap(), to.Addr().Unmap(), b[head:]))
	return b
}

// checksum is that of RFC 768, 8200 and 9293, about addresses too.
func checksum(protocol int, from, to netip.Addr, udp []byte) uint16 {
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
