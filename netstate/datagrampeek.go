package netstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// datagramPeek looks at the queue of a UDP socket without taking anything out.
type datagramPeek struct {
	fd  int
	rec *Datagram
}

// peekOptions show everything about a datagram that a program can ask for, but
// the time at which it came. SO_PEEK_OFF gets past the first.
var peekOptions = []lent{
	{level: unix.SOL_SOCKET, name: unix.SO_PEEK_OFF, during: 0},
	{level: unix.IPPROTO_IP, name: unix.IP_PKTINFO, during: 1},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVTTL, during: 1},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVTOS, during: 1},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVPKTINFO, during: 1},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVHOPLIMIT, during: 1},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVTCLASS, during: 1},
}

// all reads the whole queue. The options are set, and every look moves
// SO_PEEK_OFF on by what it has seen.
func (p *datagramPeek) all() error {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, 0); err != nil {
		return fmt.Errorf("set SO_PEEK_OFF: %w", err)
	}
	for data, oob := make([]byte, 1<<16), make([]byte, 4096); ; {
		n, oobn, flags, from, err := receive(p.fd, data, oob, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return fmt.Errorf("look at a datagram: %w", err)
		case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
			return errors.New("a datagram is larger than there can be")
		}
		m := Packet{Data: bytes.Clone(data[:n]), From: bytes.Clone(from)}
		if m.Data == nil {
			m.Data = []byte{}
		}
		if err := m.control(oob[:oobn]); err != nil {
			return err
		}
		p.rec.Queue = append(p.rec.Queue, m)
	}
}

// Usual values, which are not recorded.
const usualTTL = 64

// control takes apart what came with a datagram.
func (m *Packet) control(oob []byte) error {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	number := func(b []byte) int {
		if len(b) < 4 {
			return int(b[0]) // IP_TOS comes as a byte
		}
		return int(int32(binary.LittleEndian.Uint32(b)))
	}
	for _, c := range msgs {
		at := [2]int{int(c.Header.Level), int(c.Header.Type)}
		if len(c.Data) == 0 {
			continue
		}
		switch at {
		case [2]int{unix.IPPROTO_IP, unix.IP_PKTINFO}:
			m.To = bytes.Clone(c.Data[8:12])
		case [2]int{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO}:
			m.To = bytes.Clone(c.Data[:16])
		case [2]int{unix.IPPROTO_IP, unix.IP_TTL}, [2]int{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
			if m.TTL = number(c.Data); m.TTL == usualTTL {
				m.TTL = 0
			}
		case [2]int{unix.IPPROTO_IP, unix.IP_TOS}, [2]int{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
			m.Class = number(c.Data)
		case [2]int{solUDP, udpGRO}:
			m.Segment = number(c.Data)
		}
	}
	return nil
}

// refuse refuses a queue that cannot be filled again as it is.
func (p *datagramPeek) refuse(e inetEntry) error {
	if p.rec.Settings.option(unix.SOL_SOCKET, unix.SO_BINDTODEVICE) != 0 {
		return fdstate.RefuseNow("datagrams wait in it, and it is bound to an interface")
	}
	local, _ := p.rec.Local.inet()
	for i := range p.rec.Queue {
		to, ok := netip.AddrFromSlice(p.rec.Queue[i].To)
		if ok && (to.IsMulticast() || to == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || local.Addr().IsMulticast()) {
			return fdstate.RefuseNow("datagrams wait in it that were sent to many (multicast or broadcast)")
		}
	}
	hidden, err := p.hidden(e)
	if hidden > 0 {
		return fdstate.RefuseNow(fmt.Sprintf("%d empty datagrams wait in it that an earlier snapshot has seen", hidden))
	}
	return err
}

// hidden counts the empty datagrams that an earlier look has seen, which are
// not shown again (see unixempty.go). What the queue is charged for tells,
// if the same datagrams, sent once more, are charged less by just as much as
// empty ones take. That is so for what has been sent on this host.
func (p *datagramPeek) hidden(e inetEntry) (int, error) {
	shown, empty := 0, 0
	for i := range p.rec.Queue {
		m := &p.rec.Queue[i]
		from, _ := m.From.inet()
		if to, ok := netip.AddrFromSlice(m.To); !from.Addr().Unmap().IsLoopback() && (!ok || to != from.Addr()) {
			return 0, nil
		}
		n, err := p.rec.charge(m)
		if err != nil || n == 0 {
			return 0, err
		}
		shown += n
		if empty, err = p.rec.charge(&Packet{From: m.From}); err != nil || empty == 0 {
			return 0, err
		}
	}
	more := int(e.unread) - shown
	if len(p.rec.Queue) == 0 || more <= 0 || more%empty != 0 {
		return 0, nil
	}
	return more / empty, nil
}

// charge is what a queue is charged for a datagram that is sent to it, or 0 if
// it does not come.
func (rec *Datagram) charge(m *Packet) (int, error) {
	domain, host := unix.AF_INET, netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if from, _ := m.From.inet(); !from.Addr().Unmap().Is4() {
		domain, host = unix.AF_INET6, netip.IPv6Loopback()
	}
	var fds [2]int
	for i := range fds {
		fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, rec.Protocol)
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	if err := useAddr(unix.SYS_BIND, fds[0], inetAddr(domain, netip.AddrPortFrom(host, 0))); err != nil {
		return 0, fmt.Errorf("bind a socket of ours: %w", err)
	}
	at, err := addrOf(unix.SYS_GETSOCKNAME, fds[0])
	if err != nil {
		return 0, err
	}
	if m.Segment > 0 {
		if err := unix.SetsockoptInt(fds[0], solUDP, udpGRO, 1); err != nil {
			return 0, err
		}
	}
	if _, err := sendTo(fds[1], m.Data, m.segments(), at); err != nil {
		return 0, nil
	}
	return queued(fds[0])
}

// queued is what the queue of a socket is charged for.
func queued(fd int) (int, error) {
	b := make([]byte, 9*4) // SK_MEMINFO_VARS; the first is SK_MEMINFO_RMEM_ALLOC
	if _, err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_MEMINFO, b); err != nil {
		return 0, fmt.Errorf("getsockopt SO_MEMINFO: %w", err)
	}
	return int(binary.LittleEndian.Uint32(b)), nil
}
