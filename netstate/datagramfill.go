package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// A datagram goes back into a queue by being sent once more, from the address
// that it came from. That is the address of another socket of the tree, one
// that is free on this host, or a foreign one, from which only an
// administrator can send.

// sender sends for one address.
type sender struct {
	fd     int
	domain int
	source netip.Addr // it has many, and this is the one
	raw    bool       // it makes the headers itself
	num    int        // of a socket of ours: where the builder has it
	o      *fdstate.Opener
}

// close ends a sender that is no socket of the tree.
func (s *sender) close() error {
	if s.o == nil {
		return nil
	}
	_, err := s.o.Proc.Call(unix.SYS_CLOSE, s.num)
	return errors.Join(err, unix.Close(s.fd))
}

// fill sends what was in a socket's queue once more.
func (n *datagramNet) fill(s *datagramSock) error {
	rec := s.rec
	if len(rec.Queue) == 0 {
		return nil
	}
	const plenty = 64 << 20
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, plenty) != nil {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, plenty); err != nil {
			return err
		}
	}
	// Of several sockets with one address, that which is connected to the
	// sender gets what it sends.
	shared := rec.Settings.option(unix.SOL_SOCKET, unix.SO_REUSEPORT)|rec.Settings.option(unix.SOL_SOCKET, unix.SO_REUSEADDR) != 0
	for i := range rec.Queue {
		m := &rec.Queue[i]
		if shared {
			_ = useAddr(unix.SYS_CONNECT, s.fd, m.From) // where there is no way to the sender, it has to do without
		}
		if err := n.sendAgain(s, m); err != nil {
			return fmt.Errorf("put %d bytes from %s back: %w", len(m.Data), m.From, err)
		}
	}
	if !shared {
		return nil
	}
	return useAddr(unix.SYS_CONNECT, s.fd, make(Addr, unix.SizeofSockaddrInet6)) // AF_UNSPEC: to nobody
}

// sendAgain sends one datagram and makes sure that it comes.
func (n *datagramNet) sendAgain(s *datagramSock, m *Packet) error {
	to, err := n.target(s, m)
	if err != nil {
		return err
	}
	from, err := n.sender(s, m)
	if err != nil {
		return err
	}
	before, err := queued(s.fd)
	if err != nil {
		return err
	}
	if from.raw {
		err = from.sendRaw(s.rec.Protocol, m, to)
	} else {
		_, err = sendTo(from.fd, m.Data, from.control(m, to), scoped(inetAddr(from.domain, to), m.From.scope()))
	}
	if err != nil {
		return err
	}
	after, err := queued(s.fd)
	if err == nil && after <= before {
		err = &HostError{Why: "a datagram that waited in a socket did not come back into it", Hint: "see `nft list ruleset`, and sysctl net.core.rmem_max"}
	}
	return err
}

// scoped gives a link-local address its interface.
func scoped(at Addr, scope uint32) Addr {
	if addr, _ := at.inet(); at.family() == unix.AF_INET6 && addr.Addr().IsLinkLocalUnicast() {
		binary.LittleEndian.PutUint32(at[24:], scope)
	}
	return at
}

// target is where a socket is reached. Nothing may leave this host.
func (n *datagramNet) target(s *datagramSock, m *Packet) (netip.AddrPort, error) {
	name, err := addrOf(unix.SYS_GETSOCKNAME, s.fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	at, _ := name.inet()
	from, _ := m.From.inet()
	host := at.Addr().Unmap()
	if host.IsUnspecified() {
		host, _ = netip.AddrFromSlice(m.To)
		if here, err := n.isLocal(host.Unmap()); err != nil || here {
			return netip.AddrPortFrom(host, at.Port()), err
		}
		if host = netip.IPv6Loopback(); from.Addr().Unmap().Is4() {
			host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	here, err := n.isLocal(host)
	if err == nil && !here {
		err = &HostError{Why: fmt.Sprintf("this host does not have the address %s, at which datagrams wait", host)}
	}
	return netip.AddrPortFrom(host, at.Port()), err
}

// isLocal tells whether this host has an address.
func (n *datagramNet) isLocal(addr netip.Addr) (bool, error) {
	if !addr.IsValid() || addr.IsLinkLocalUnicast() || addr.IsLoopback() {
		return addr.IsValid(), nil // one that is link-local reaches who is on the link
	}
	if known, ok := n.local[addr]; ok {
		return known, nil
	}
	s, err := n.open(addr, unix.SOCK_DGRAM, 0)
	if err != nil {
		return false, err
	}
	err = useAddr(unix.SYS_BIND, s.fd, inetAddr(s.domain, netip.AddrPortFrom(addr, 0)))
	n.local[addr] = err == nil
	return err == nil, s.close()
}

// open makes a socket of our own, for the family of an address.
func (n *datagramNet) open(addr netip.Addr, typ, protocol int) (*sender, error) {
	s := &sender{domain: unix.AF_INET6, num: n.o.Reserve(), o: n.o}
	if addr.Unmap().Is4() {
		s.domain = unix.AF_INET
	}
	var err error
	s.fd, err = n.socket(s.num, s.domain, typ, protocol)
	return s, err
}

// sender finds who sends for the address that a datagram came from.
func (n *datagramNet) sender(to *datagramSock, m *Packet) (*sender, error) {
	key := fmt.Sprint(to.rec.Protocol, " ", string(m.From))
	if s := n.senders[key]; s != nil {
		return s, nil
	}
	s, err := n.findSender(to, m)
	if err == nil {
		n.senders[key] = s
	}
	return s, err
}

func (n *datagramNet) findSender(to *datagramSock, m *Packet) (*sender, error) {
	from, _ := m.From.inet()
	for _, other := range n.socks {
		at, _ := other.rec.Local.inet()
		if other.rec.Protocol != to.rec.Protocol || at.Port() != from.Port() {
			continue
		}
		if at.Addr().Unmap() == from.Addr().Unmap() || at.Addr().IsUnspecified() && (other.rec.Domain == unix.AF_INET6 || from.Addr().Unmap().Is4()) {
			return &sender{fd: other.fd, domain: other.rec.Domain, source: from.Addr()}, nil
		}
	}
	s, err := n.open(from.Addr(), unix.SOCK_DGRAM, to.rec.Protocol)
	if err != nil {
		return nil, err
	}
	s.source = from.Addr()
	if from.Port() != 0 {
		if err = useAddr(unix.SYS_BIND, s.fd, scoped(inetAddr(s.domain, from), m.From.scope())); err == nil {
			return s, nil
		}
	}
	if closeErr := s.close(); closeErr != nil {
		return nil, closeErr
	}
	raw, rawErr := n.open(from.Addr(), unix.SOCK_RAW, unix.IPPROTO_RAW)
	if rawErr != nil {
		return nil, &HostError{Why: fmt.Sprintf("a datagram from %s waits in a socket, and only an administrator can put it back", from),
			Hint: "restart it as root, or with the sender's address free on this host", Err: err}
	}
	raw.raw, raw.source = true, from.Addr()
	return raw, nil
}

// control is what a datagram is sent with, so that it looks as before.
func (s *sender) control(m *Packet, to netip.AddrPort) []byte {
	le := binary.LittleEndian
	number := func(v int) []byte { return le.AppendUint32(nil, uint32(v)) }
	oob := m.segments()
	if to.Addr().Unmap().Is4() {
		oob = append(oob, controlMessage(unix.IPPROTO_IP, unix.IP_TTL, number(m.ttl()))...)
		oob = append(oob, controlMessage(unix.IPPROTO_IP, unix.IP_TOS, number(m.Class))...)
		source := s.source.Unmap().As4()
		return append(oob, controlMessage(unix.IPPROTO_IP, unix.IP_PKTINFO, append(append(number(0), source[:]...), 0, 0, 0, 0))...)
	}
	oob = append(oob, controlMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, number(m.ttl()))...)
	oob = append(oob, controlMessage(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, number(m.Class))...)
	if s.source.IsLinkLocalUnicast() {
		return oob // it is bound to that
	}
	source := s.source.As16()
	return append(oob, controlMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, append(source[:], 0, 0, 0, 0))...)
}

func (m *Packet) ttl() int {
	if m.TTL == 0 {
		return usualTTL
	}
	return m.TTL
}

// segments asks for a datagram to be sent in pieces.
func (m *Packet) segments() []byte {
	if m.Segment == 0 || len(m.Data) <= m.Segment {
		return nil
	}
	return controlMessage(solUDP, udpSegment, binary.LittleEndian.AppendUint16(nil, uint16(m.Segment)))
}

// controlMessage is a control message (man 3 cmsg).
func controlMessage(level, typ int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	le := binary.LittleEndian
	le.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	le.PutUint32(b[8:], uint32(level))
	le.PutUint32(b[12:], uint32(typ))
	copy(b[unix.CmsgLen(0):], data)
	return b
}
