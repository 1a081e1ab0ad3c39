package netstate

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// tcpPair is a connection to be made.
type tcpPair struct{ client, server *tcpSock }

// swapped is the same connection, made from its other end.
func (p tcpPair) swapped() tcpPair { return tcpPair{p.server, p.client} }

// tcpDoor is a listener that connections are made through.
type tcpDoor struct {
	*tcpSock
	pairs []tcpPair
}

type doorAddr struct {
	domain int
	at     netip.AddrPort
}

// planPairs finds the connections, and which end is to accept each.
func (n *tcpNet) planPairs() error {
	for _, s := range slices.Clone(n.socks) {
		switch n.way(s) {
		case paired:
			other := n.byID[s.rec.Other]
			if other.rec.Other != s.rec.ID || key(s.rec.Local, s.rec.Peer) != key(other.rec.Local, other.rec.Peer).swap() {
				return fmt.Errorf("tcp %s: its record does not fit that of its other end", s.link)
			}
			s.other = other
			if s.rec.ID <= other.rec.ID {
				n.pairs = append(n.pairs, n.roles(s, other))
			}
		case closing:
			n.pairs = append(n.pairs, n.help(s))
		}
	}
	for _, p := range n.pairs {
		p.server.accepted = p.server != p.client
	}
	return nil
}

// help makes the other end of a connection that is closed in the end. Where
// the connection is forgotten, it may come from anywhere.
func (n *tcpNet) help(s *tcpSock) tcpPair {
	helper := &tcpSock{rec: &TCP{Domain: s.rec.Domain, State: tcpEstablished, Local: s.rec.Peer, Peer: s.rec.Local}, num: n.o.Reserve(), link: s.link, helper: true}
	s.other, helper.other = helper, s
	n.socks = append(n.socks, helper)
	if s.rec.Peer.IsValid() {
		return n.roles(s, helper)
	}
	helper.rec.Local = netip.AddrPortFrom(s.rec.Local.Addr(), 0)
	return tcpPair{client: helper, server: s}
}

// roles makes the end at a port that the tree listens on the one that accepts,
// and otherwise that with the lower port.
func (n *tcpNet) roles(a, b *tcpSock) tcpPair {
	listens := func(s *tcpSock) bool {
		return slices.ContainsFunc(n.socks, func(l *tcpSock) bool {
			return l.rec.Listen != nil && l.rec.Local.Port() == s.rec.Local.Port()
		})
	}
	switch la, lb := listens(a), listens(b); {
	case la && !lb, la == lb && a.rec.Local.Port() < b.rec.Local.Port():
		return tcpPair{client: b, server: a}
	}
	return tcpPair{client: a, server: b}
}

// connectPairs makes all connections. One that was made between the same
// addresses before, and has ended lately, may be in the way at one end, which
// waits for late packets (TIME_WAIT), but not at the other: that end connects
// then. Otherwise it helps to wait (Linux net/ipv4/tcp_ipv4.c:tcp_twsk_unique,
// v6.12: a second).
func (n *tcpNet) connectPairs() error {
	left, err := n.connectRound(n.pairs)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(connectPatience); len(left) > 0; time.Sleep(100 * time.Millisecond) {
		for i := range left {
			if left[i], err = n.turn(left[i]); err != nil {
				return err
			}
		}
		tried := left
		if left, err = n.connectRound(tried); err != nil {
			return err
		}
		if len(left) > 0 && time.Now().After(deadline) {
			rec := left[0].client.rec
			return &HostError{Why: fmt.Sprintf("an earlier connection between %s and %s is not forgotten yet", rec.Local, rec.Peer),
				Hint: "wait a minute, and try again", Err: unix.EADDRNOTAVAIL}
		}
	}
	return nil
}

// turn prepares a connection to be made from the other end.
func (n *tcpNet) turn(p tcpPair) (tcpPair, error) {
	if p.client == p.server {
		return p, nil
	}
	var b task.Batch
	b.Add(unix.SYS_CLOSE, p.client.num)
	if err := n.o.Proc.Run(&b); err != nil {
		return p, err
	}
	p = p.swapped()
	p.client.accepted, p.server.accepted = false, true
	n.open(p.client)
	if err := n.o.Run(); err != nil {
		return p, err
	}
	return p, n.with(p.client, n.prepare)
}

// connectRound makes connections, and gives those that could not be made for
// now.
func (n *tcpNet) connectRound(pairs []tcpPair) (left []tcpPair, err error) {
	n.doors = map[doorAddr]*tcpDoor{}
	var doors []*tcpDoor
	for _, p := range pairs {
		at := doorAddr{p.server.rec.Domain, p.server.rec.Local}
		d := n.doors[at]
		if d == nil {
			d = &tcpDoor{tcpSock: &tcpSock{rec: p.server.rec, num: n.o.Reserve()}}
			n.doors[at] = d
			doors = append(doors, d)
		}
		d.pairs = append(d.pairs, p)
	}
	for _, d := range doors {
		n.open(d.tcpSock)
	}
	if err := n.o.Run(); err != nil {
		return nil, err
	}
	for _, d := range doors {
		// So many that no queue overflows, and a batch has room for them.
		const atOnce = 100
		if err := n.with(d.tcpSock, n.openDoor); err != nil {
			return nil, err
		}
		for some := range slices.Chunk(d.pairs, atOnce) {
			late, err := n.connectThrough(d, some)
			if err != nil {
				return nil, err
			}
			left = append(left, late...)
		}
	}
	for _, d := range doors {
		n.o.Call("close", unix.SYS_CLOSE, d.num)
	}
	return left, n.o.Run()
}

// openDoor lets a door listen.
func (n *tcpNet) openDoor(d *tcpSock, fd int) error {
	const backlog = 1 << 10
	if err := n.prepare(d, fd); err != nil {
		return err
	}
	return explainBind(d.rec.Local, unix.Listen(fd, backlog))
}

// connectThrough makes connections through one door.
func (n *tcpNet) connectThrough(d *tcpDoor, pairs []tcpPair) (left []tcpPair, err error) {
	want := map[netip.AddrPort]tcpPair{}
	for _, p := range pairs {
		var from netip.AddrPort
		err := n.with(p.client, func(s *tcpSock, fd int) (err error) {
			if err = connect(fd, s.rec); err == nil {
				from, err = addrPort(unix.Getsockname(fd))
			}
			return err
		})
		switch {
		case errors.Is(err, unix.EADDRNOTAVAIL):
			left = append(left, p)
		case err != nil:
			return nil, err
		case p.client != p.server: // which needs no door
			want[plain(from)] = p
		}
	}
	for deadline := time.Now().Add(connectPatience); len(want) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return nil, errors.New("connections were made and did not arrive")
		}
		got, err := n.accept(d.num, len(want))
		if err != nil {
			return nil, err
		}
		if err := n.place(got, want); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// place puts accepted connections where they belong. Of strangers', who have
// found the door, nothing is left.
func (n *tcpNet) place(got map[netip.AddrPort]int, want map[netip.AddrPort]tcpPair) error {
	var b task.Batch
	for from, num := range got {
		if p, ok := want[from]; ok {
			delete(want, from)
			b.Add(unix.SYS_DUP3, num, p.server.num, unix.O_CLOEXEC)
		}
		b.Add(unix.SYS_CLOSE, num)
	}
	if b.Len() == 0 {
		return nil
	}
	return n.o.Proc.Run(&b)
}

// inLine are the sockets that wait to be accepted, in their order.
func (n *tcpNet) inLine() []*tcpSock {
	var list []*tcpSock
	for _, s := range n.socks {
		if n.way(s) == lined {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *tcpSock) int { return cmp.Compare(a.rec.Waits, b.rec.Waits) })
	return list
}

// knockAndGo connects to a listener and closes the connection again.
func (n *tcpNet) knockAndGo(c TCPClosed) error {
	s := &tcpSock{rec: &TCP{Domain: unix.AF_INET, State: tcpEstablished, Local: c.From, Peer: c.To}, num: n.o.Reserve()}
	if c.From.Addr().Is6() {
		s.rec.Domain = unix.AF_INET6
	}
	n.open(s)
	if err := n.o.Run(); err != nil {
		return err
	}
	err := n.with(s, func(s *tcpSock, fd int) error {
		if err := n.prepare(s, fd); err != nil {
			return err
		}
		return connect(fd, s.rec)
	})
	_, closeErr := n.o.Proc.Call(unix.SYS_CLOSE, s.num)
	return errors.Join(err, closeErr)
}
