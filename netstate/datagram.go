package netstate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/policy"
)

// Datagram is the image record of a socket of AF_INET or AF_INET6 that makes
// no connections: UDP, UDP-Lite, ping and raw.
type Datagram struct {
	Domain   int  `cbor:"1,keyasint" json:"domain"`
	Type     int  `cbor:"2,keyasint" json:"type"`
	Protocol int  `cbor:"3,keyasint" json:"protocol"`
	Local    Addr `cbor:"4,keyasint,omitempty" json:"local,omitempty"` // if it is bound
	Peer     Addr `cbor:"5,keyasint,omitempty" json:"peer,omitempty"`  // if it is connected

	// Unreachable: the peer has answered that nobody is there, and the program
	// has not been told yet (ECONNREFUSED).
	Unreachable bool `cbor:"6,keyasint,omitempty" json:"unreachable,omitempty"`

	Shutdown uint8        `cbor:"7,keyasint,omitempty" json:"shutdown,omitempty"`
	Queue    []Packet     `cbor:"8,keyasint,omitempty" json:"queue,omitempty"`
	Groups   []Membership `cbor:"9,keyasint,omitempty" json:"groups,omitempty"`
	Settings Settings     `cbor:"10,keyasint" json:"settings"`

	net *datagramNet
}

// Packet is a datagram that waits to be read.
type Packet struct {
	Data    []byte `cbor:"1,keyasint" json:"data"`
	From    Addr   `cbor:"2,keyasint" json:"from"`
	To      []byte `cbor:"3,keyasint,omitempty" json:"to,omitempty"`           // the address that it was sent to
	TTL     int    `cbor:"4,keyasint,omitempty" json:"ttl,omitempty"`          // or hop limit
	Class   int    `cbor:"5,keyasint,omitempty" json:"class,omitempty"`        // type of service, or traffic class
	Segment int    `cbor:"6,keyasint,omitempty" json:"segment_size,omitempty"` // of UDP_GRO: it is many of this size
}

// datagramKinds are the rows of sockets that make no connections.
func datagramKinds() []fdstate.Kind {
	fresh := usuals{}
	survey := &datagramSurvey{tables: inetTables{}, fresh: fresh, shut: map[datagramFamily]map[uint32]uint8{}}
	net := &datagramNet{senders: map[string]*sender{}, local: map[netip.Addr]bool{}}
	empty := func() fdstate.Record { return &Datagram{net: net} }
	made := map[string]bool{}
	return []fdstate.Kind{
		{Tag: 210, Name: "udp socket", Match: isInet(unix.SOCK_DGRAM, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE),
			Ends: survey.endsOf, Capture: survey.capture, New: empty, Shared: true},
		{Tag: 211, Name: "ping socket", Match: isInet(unix.SOCK_DGRAM, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6),
			Ends: survey.endsOf, Capture: survey.capture, New: empty, Shared: true, Only: "nothing waits in it"},
		{Tag: 212, Name: "raw socket", Match: isInet(unix.SOCK_RAW),
			Ends: survey.endsOf, Capture: survey.capture, New: empty, Shared: true, Only: "nothing waits in it"},
		{Tag: 203, Name: "netlink socket", Match: family(unix.AF_NETLINK), Capture: fresh.captureNetlink, New: func() fdstate.Record { return new(Netlink) },
			Only: "nothing waits in it, and its protocol keeps nothing for it"},
		{Tag: 204, Name: "packet socket", Match: family(unix.AF_PACKET), Capture: fresh.capturePacket, New: func() fdstate.Record { return new(PacketSocket) },
			Only: "nothing waits in it, and it has no ring"},
		{Tag: 213, Name: "tun or tap", Match: isTun, Capture: captureTun, New: func() fdstate.Record { return &Tun{made: made} }, Shared: true,
			Only: "nothing waits in it, and it has no filter"},
	}
}

// isInet matches sockets by type and protocols; no protocol is any.
func isInet(typ int, protocols ...int) func(*fdstate.Desc) bool {
	return func(d *fdstate.Desc) bool {
		s := d.Socket
		if !isSocket(d) || s.Domain != unix.AF_INET && s.Domain != unix.AF_INET6 || s.Type != typ {
			return false
		}
		return len(protocols) == 0 || slices.Contains(protocols, s.Protocol)
	}
}

// udp tells whether it is UDP or UDP-Lite.
func (rec *Datagram) udp() bool {
	return rec.Protocol == unix.IPPROTO_UDP || rec.Protocol == unix.IPPROTO_UDPLITE
}

// Check is for records out of an image.
func (rec *Datagram) Check(*fdstate.State) error {
	if rec.Domain != unix.AF_INET && rec.Domain != unix.AF_INET6 || rec.Type != unix.SOCK_DGRAM && rec.Type != unix.SOCK_RAW {
		return errors.New("not a datagram socket of IP")
	}
	for _, at := range []Addr{rec.Local, rec.Peer} {
		if err := rec.checkAddr(at); err != nil {
			return err
		}
	}
	for i := range rec.Queue {
		if err := rec.checkAddr(rec.Queue[i].From); err != nil {
			return err
		}
	}
	for i := range rec.Groups {
		if err := rec.Groups[i].check(); err != nil {
			return err
		}
	}
	return rec.Settings.check()
}

func (rec *Datagram) checkAddr(at Addr) error {
	if _, ok := at.inet(); len(at) > 0 && (!ok || at.family() != rec.Domain) {
		return fmt.Errorf("%s is not an address of the socket's family", at)
	}
	return nil
}

// LocalAddrs are the addresses that it needs (see Addresses).
func (rec *Datagram) LocalAddrs() []netip.Addr {
	if at, ok := rec.Local.inet(); ok && !at.Addr().IsUnspecified() {
		return []netip.Addr{at.Addr()}
	}
	return nil
}

// Ends are the socket's for rules.
func (rec *Datagram) Ends() policy.Ends {
	var e policy.Ends
	if len(rec.Local) > 0 {
		e.Local = rec.Local.String()
	}
	if len(rec.Peer) > 0 {
		e.Peer, e.Direction = rec.Peer.String(), "out"
	}
	return e
}

// Restore has the socket made with all others: they send each other what was
// in their queues.
func (rec *Datagram) Restore(o *fdstate.Opener, f *fdstate.File, at fdstate.Slot) error {
	if len(rec.net.socks) == 0 {
		o.Last(rec.net.restore)
	}
	rec.net.socks = append(rec.net.socks, &datagramSock{rec: rec, flags: f.Flags, link: f.Link, rule: f.Rule(), num: at.Num, fd: -1})
	return nil
}

// KeepsFlags: they are set when there is a socket.
func (*Datagram) KeepsFlags() {}
