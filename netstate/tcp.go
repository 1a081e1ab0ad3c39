package netstate

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// TCP is the image record of a TCP socket.
type TCP struct {
	ID     uint64   `cbor:"1,keyasint" json:"id"`
	Domain int      `cbor:"2,keyasint" json:"domain"`                    // AF_INET or AF_INET6
	MPTCP  bool     `cbor:"3,keyasint,omitempty" json:"mptcp,omitempty"` // made for it; it is not in use
	State  TCPState `cbor:"4,keyasint" json:"state"`

	// Local and Peer are as getsockname(2) and getpeername(2) give them, the
	// scope of an address as a name. Not valid: there is none.
	Local netip.AddrPort `cbor:"5,keyasint" json:"local"`
	Peer  netip.AddrPort `cbor:"6,keyasint" json:"peer"`

	Other  uint64     `cbor:"7,keyasint,omitempty" json:"other,omitempty"` // the other end, if a process of the tree has it
	Waits  int        `cbor:"8,keyasint,omitempty" json:"waits,omitempty"` // its place among the connections that nobody has accepted yet, from 1
	Listen *TCPListen `cbor:"9,keyasint,omitempty" json:"listen,omitempty"`

	Shutdown uint8    `cbor:"10,keyasint,omitempty" json:"shutdown,omitempty"` // what is shut down, by either end
	Queue    []byte   `cbor:"11,keyasint,omitempty" json:"queue,omitempty"`    // received, or on its way to it
	Options  []Option `cbor:"13,keyasint,omitempty" json:"options,omitempty"`
	Buffers  Buffers  `cbor:"14,keyasint" json:"buffers"`

	Filter *Filter `cbor:"15,keyasint,omitempty" json:"filter,omitempty"`

	// Outside: the other end is outside the tree. Accepted: it has come to a
	// listener of the tree.
	Outside  bool `cbor:"16,keyasint,omitempty" json:"outside,omitempty"`
	Accepted bool `cbor:"17,keyasint,omitempty" json:"accepted,omitempty"`

	Repair *TCPRepair `cbor:"18,keyasint,omitempty" json:"repair,omitempty"` // what it takes to keep the connection
	Urgent *TCPUrgent `cbor:"19,keyasint,omitempty" json:"urgent,omitempty"` // not part of Queue

	net *tcpNet
}

// TCPListen is what a listening socket has.
type TCPListen struct {
	Backlog int `cbor:"1,keyasint" json:"backlog"`

	// Closed are connections that were closed before anybody has accepted
	// them.
	Closed []TCPClosed `cbor:"2,keyasint,omitempty" json:"closed,omitempty"`
}

// TCPClosed is a connection with nobody at the other end any more.
type TCPClosed struct {
	From netip.AddrPort `cbor:"1,keyasint" json:"from"`
	To   netip.AddrPort `cbor:"2,keyasint" json:"to"`
}

// TCPState is a state of TCP (Linux include/net/tcp_states.h).
type TCPState uint8

// States of TCP that a socket with a descriptor can be in.
const (
	tcpEstablished TCPState = 1 + iota
	tcpSynSent
	tcpSynRecv
	tcpFinWait1
	tcpFinWait2
	tcpTimeWait
	tcpClose
	tcpCloseWait
	tcpLastAck
	tcpListen
	tcpClosing
	tcpNewSynRecv
)

// String is the state's name, as netstat(8) prints it.
func (s TCPState) String() string {
	if int(s) < len(tcpStates) {
		return tcpStates[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText is for JSON.
func (s TCPState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// in tells whether it is one of these.
func (s TCPState) in(states ...TCPState) bool {
	for _, other := range states {
		if s == other {
			return true
		}
	}
	return false
}

// connected tells whether there is another end.
func (rec *TCP) connected() bool {
	return rec.State.in(tcpEstablished, tcpFinWait2, tcpCloseWait)
}

// LocalAddrs are the addresses of this host that it has.
func (rec *TCP) LocalAddrs() []netip.Addr {
	if !rec.Local.IsValid() {
		return nil
	}
	return []netip.Addr{rec.Local.Addr()}
}

// protocol is what socket(2) was given.
func (rec *TCP) protocol() int {
	if rec.MPTCP {
		return unix.IPPROTO_MPTCP
	}
	return unix.IPPROTO_TCP
}

// Check is for records out of an image.
func (rec *TCP) Check(*fdstate.State) error {
	switch {
	case rec.ID == 0 || rec.Domain != unix.AF_INET && rec.Domain != unix.AF_INET6:
		return errors.New("not a TCP socket")
	case !rec.connected() && !rec.State.in(tcpClose, tcpListen), (rec.State == tcpListen) != (rec.Listen != nil):
		return fmt.Errorf("not a TCP socket that can be made: %v", rec.State)
	case rec.connected() && !(rec.fits(rec.Local) && rec.fits(rec.Peer)), rec.State == tcpListen && !rec.fits(rec.Local):
		return errors.New("a TCP socket without its addresses")
	case rec.Local.IsValid() && !rec.fits(rec.Local), rec.Peer.IsValid() && !rec.fits(rec.Peer):
		return errors.New("a TCP socket with addresses of another family")
	}
	return errors.Join(checkOptions(rec.Options), rec.Filter.check(), rec.Urgent.check(rec))
}

// fits tells whether an address is one of the socket's family.
func (rec *TCP) fits(a netip.AddrPort) bool {
	return a.IsValid() && a.Addr().Is4() == (rec.Domain == unix.AF_INET)
}

// Restore has the socket made together with all others.
func (rec *TCP) Restore(o *fdstate.Opener, f *fdstate.File, _ fdstate.Slot) error {
	if len(rec.net.socks) == 0 {
		o.Last(rec.net.restore)
	}
	rec.net.add(&tcpSock{rec: rec, flags: f.Flags, file: f, link: f.Link, fate: fate{rule: f.Rule()}})
	return nil
}

// KeepsFlags: they are set when there is a socket.
func (*TCP) KeepsFlags() {}

// PlacesItself: there may be more than the builder can have at once.
func (*TCP) PlacesItself() {}
