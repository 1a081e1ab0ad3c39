package netstate

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// tcpPair is a connection to be made.
type tcpPair struct {
	client, server *tcpSock
	tries          int
	err            error // why the last did not work
}

// tcpDoor is a listener that connections are made through.
type tcpDoor struct {
	*tcpSock
	at    netip.AddrPort
	pairs []*tcpPair
	err   error
}

type doorAddr struct {
	domain int
	at     netip.AddrPort
}

// planPairs finds the connections, and which end is to accept each.
func (n *tcpNet) planPairs() error {
	for _, s := range n.socks {
		if s.rec.Listen != nil {
			n.doors[s.rec.Local.Port()] = true
		}
	}
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
		p.client.connects, p.server.accepted = true, p.server != p.client
	}
	return nil
}

// help makes the other end of a connection that is closed in the end. Where
// the connection is forgotten, it may be anywhere.
func (n *tcpNet) help(s *tcpSock) *tcpPair {
	helper := &tcpSock{rec: &TCP{Domain: s.rec.Domain, State: tcpEstablished, Local: s.rec.Peer, Peer: s.rec.Local}, link: s.link, helper: true}
	s.other, helper.other = helper, s
	n.socks = append(n.socks, helper)
	if s.rec.Peer.IsValid() {
		return n.roles(s, helper)
	}
	helper.rec.Local = netip.AddrPortFrom(s.rec.Local.Addr(), 0)
	return &tcpPair{client: s, server: helper}
}

// roles makes the end at a port that the tree listens on the one that accepts,
// and otherwise that with the lower port.
func (n *tcpNet) roles(a, b *tcpSock) *tcpPair {
	switch la, lb := n.doors[a.rec.Local.Port()], n.doors[b.rec.Local.Port()]; {
	case la && !lb, la == lb && a.rec.Local.Port() < b.rec.Local.Port():
		return &tcpPair{client: b, server: a}
	}
	return &tcpPair{client: a, server: b}
}

// connectPairs makes all connections, as many at once as there is room for.
func (n *tcpNet) connectPairs() error {
	if len(n.pairs) == 0 {
		return nil
	}
	if _, err := n.remembered(); err != nil {
		return err
	}
	const each = 3 // descriptors: both ends, and a door
	for left := n.pairs; len(left) > 0; {
		some, err := n.fit(len(left), each)
		if err != nil {
			return err
		}
		if err := n.connectSome(left[:some]); err != nil {
			return err
		}
		left = left[some:]
	}
	return nil
}

// connectSome makes connections. One that was made between the same
// addresses before, and has ended lately, may be in the way at one end, which
// waits for late packets (TIME_WAIT), but not at the other: that end connects
// then. Otherwise it helps to wait: a second (Linux
// net/ipv4/tcp_ipv4.c:tcp_twsk_unique, v6.12), or, where each end has a port
// that other connections are remembered for, until they are forgotten.
func (n *tcpNet) connectSome(left []*tcpPair) error {
	const waysToTry, moment = 4, 100 * time.Millisecond
	begun := time.Now()
	for len(left) > 0 {
		var err error
		if left, err = n.connectRound(left); err != nil {
			return err
		}
		for _, p := range left {
			p.turn()
		}
		if len(left) == 0 || left[0].tries%waysToTry != 0 {
			continue
		}
		busy, err := n.remembered()
		if err != nil {
			return err
		}
		if took := time.Since(begun); took > connectPatience && !busy || took > forgetTime+connectPatience {
			return fmt.Errorf("connect tcp %s: %w", left[0].client.link, left[0].err)
		}
		time.Sleep(moment)
	}
	return nil
}

// turn chooses another way to make a connection: whether bind(2) or connect(2)
// takes the port, and from which end.
func (p *tcpPair) turn() {
	p.tries++
	if p.tries%2 == 0 && p.client != p.server && p.server.rec.Local.Port() != 0 && p.client.rec.Local.Port() != 0 {
		p.client, p.server = p.server, p.client
		p.client.accepted, p.client.connects = false, true
		p.server.accepted, p.server.connects = true, false
	}
}

// connectRound makes connections, and gives those that could not be made for
// now.
func (n *tcpNet) connectRound(pairs []*tcpPair) (left []*tcpPair, err error) {
	var doors []*tcpDoor
	byAddr := map[doorAddr]*tcpDoor{}
	for _, p := range pairs {
		n.open(p.client)
		at := doorAddr{p.server.rec.Domain, p.server.rec.Local}
		d := byAddr[at]
		if d == nil {
			d = &tcpDoor{tcpSock: &tcpSock{rec: p.server.rec}}
			n.open(d.tcpSock)
			byAddr[at] = d
			doors = append(doors, d)
		}
		d.pairs = append(d.pairs, p)
	}
	if err := n.o.Run(); err != nil {
		return nil, err
	}
	for _, d := range doors {
		if d.pairs[0].client == d.pairs[0].server {
			// Both ends are one socket, and a door would be in its way.
		} else if d.err = n.with(d.tcpSock, d.open(n)); d.err != nil && !errors.Is(d.err, unix.EADDRINUSE) {
			return nil, d.err
		}
		const atOnce = min(100, fdstate.Landings) // so many that no queue overflows, and a batch has room for them
		for some := range slices.Chunk(d.pairs, atOnce) {
			late, err := n.connectThrough(d, some)
			if err != nil {
				return nil, err
			}
			left = append(left, late...)
		}
	}
	for _, p := range left {
		n.close(p.client)
	}
	for _, d := range doors {
		n.close(d.tcpSock)
	}
	return left, n.o.Run()
}

// open lets a door listen.
func (d *tcpDoor) open(n *tcpNet) func(*tcpSock, int) error {
	return func(_ *tcpSock, fd int) error {
		const backlog = 1 << 10
		if err := n.prepare(d.tcpSock, fd, false); err != nil {
			return err
		}
		if err := explainBind(d.rec.Local, unix.Listen(fd, backlog)); err != nil {
			return err
		}
		var err error
		d.at, err = addrPort(unix.Getsockname(fd))
		return err
	}
}

// connectThrough makes connections through one door, and gives those that
// could not be made.
func (n *tcpNet) connectThrough(d *tcpDoor, pairs []*tcpPair) (left []*tcpPair, err error) {
	want := map[netip.AddrPort]*tcpPair{}
	for _, p := range pairs {
		var from netip.AddrPort
		switch p.err = d.err; {
		case p.client == p.server:
			p.err = n.knockAs(p.client)
		case p.err == nil:
			p.err = n.with(p.client, func(s *tcpSock, fd int) (err error) {
				from, err = n.connect(s, fd, d.at, p.tries%2 == 0)
				return err
			})
		}
		switch {
		case errors.Is(p.err, unix.EADDRNOTAVAIL), errors.Is(p.err, unix.EADDRINUSE):
			left = append(left, p)
		case p.err != nil:
			return nil, p.err
		case p.client != p.server:
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
func (n *tcpNet) place(got map[netip.AddrPort]int, want map[netip.AddrPort]*tcpPair) error {
	var b task.Batch
	for from, num := range got {
		if p, ok := want[from]; ok {
			delete(want, from)
			n.house(p.server)
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
	s := &tcpSock{rec: &TCP{Domain: unix.AF_INET, State: tcpEstablished, Local: c.From, Peer: c.To}}
	if c.From.Addr().Is6() {
		s.rec.Domain = unix.AF_INET6
	}
	n.open(s)
	if err := n.o.Run(); err != nil {
		return err
	}
	err := n.knockAs(s)
	n.close(s)
	return errors.Join(err, n.o.Run())
}

// knockAs connects a socket to a listener of the tree.
func (n *tcpNet) knockAs(s *tcpSock) error {
	return n.with(s, func(s *tcpSock, fd int) error {
		_, err := n.connect(s, fd, s.rec.Peer, true)
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			_, err = n.connect(s, fd, s.rec.Peer, false)
		}
		return err
	})
}

// connectPatience is how long a connection on this host may take.
const connectPatience = 5 * time.Second

// connect connects a socket from its address, and tells which that is. late
// says that connect(2) is to take the port, and not bind(2): then it may be one
// that others have as well, who talk to somebody else.
func (n *tcpNet) connect(s *tcpSock, fd int, to netip.AddrPort, late bool) (from netip.AddrPort, err error) {
	late = late && isEphemeral(s.rec.Local.Port())
	if err := n.prepare(s, fd, late); err != nil {
		return from, err
	}
	err = unix.Connect(fd, sockaddrOf(s.rec.Domain, to))
	if errors.Is(err, unix.EINPROGRESS) {
		err = awaitConnection(fd)
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		err = &HostError{Why: fmt.Sprintf("the port of %s is in use, or an earlier connection to %s is not forgotten yet", s.rec.Local, to), Err: err,
			Hint: "end what uses it (ss -tanp shows it), or wait a minute and try again"}
	}
	if err != nil {
		return from, fmt.Errorf("connect %s to %s: %w", s.rec.Local, to, err)
	}
	if late {
		if err := setPortRange(fd, 0, 0); err != nil {
			return from, err
		}
	}
	from, err = addrPort(unix.Getsockname(fd))
	if err == nil && s.rec.Local.Port() != 0 && from.Port() != s.rec.Local.Port() {
		err = fmt.Errorf("connect %s to %s: came from port %d", s.rec.Local, to, from.Port())
	}
	return from, err
}

// isEphemeral tells whether the kernel chooses such ports by itself.
func isEphemeral(port uint16) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	var low, high uint16
	if n, _ := fmt.Sscan(string(b), &low, &high); err != nil || n != 2 {
		return false
	}
	return port >= low && port <= high
}

// setPortRange lets connect(2) choose the port out of a range; 0 takes that
// back (Linux net/ipv4/inet_connection_sock.c:inet_sk_get_local_port_range,
// v6.12).
func setPortRange(fd, port, noPort int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, noPort); err != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, ipLocalPortRange, port|port<<16); err != nil {
		return fmt.Errorf("set IP_LOCAL_PORT_RANGE: %w", err)
	}
	return nil
}

func awaitConnection(fd int) error {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for deadline := time.Now().Add(connectPatience); set[0].Revents == 0; {
		left := time.Until(deadline).Milliseconds()
		if left < 0 {
			return unix.ETIMEDOUT
		}
		if _, err := unix.Poll(set, int(left)); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}
