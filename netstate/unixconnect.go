package netstate

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// door is a listener that connections are made through: with a name, the
// accepting end has the listener's.
type door struct {
	num  int
	addr []byte
}

type doorKey struct {
	name string
	typ  int
	cred ids
}

// end is an end of a connection to be made.
type end struct {
	num  int
	name *UnixName
	cred *Cred // as SO_PEERCRED shows it there
}

// makeConnection makes a connection, its other end with it.
func (n *unixNet) makeConnection(s *unixSock) error {
	rec := s.rec
	if s.made {
		return nil
	}
	s.made = true
	if rec.Control != nil {
		return n.makeControl(s)
	}
	if s.to != nil {
		return n.reconnect(s)
	}
	one, other := end{s.num, rec.Name, rec.Cred}, end{}
	if rec.Gone != nil {
		s.dead = n.o.Reserve()
		other.num = s.dead
		if len(rec.Gone.Name) > 0 {
			other.name = &UnixName{Path: rec.Gone.Name}
		}
	} else {
		peer := n.byID[rec.Peer]
		if peer.made || peer.rec.Type != rec.Type {
			return errors.New("its record does not fit that of its other end")
		}
		peer.made = true
		other = end{peer.num, peer.rec.Name, peer.rec.Cred}
	}
	switch {
	case one.name == nil && other.name == nil:
		return n.pair(rec.Type, rec.Cred, one.num, other.num)
	case one.name == nil, other.name != nil && n.listener(other.name.Path, rec.Type) != nil:
		return n.connect(rec.Type, one, other)
	}
	return n.connect(rec.Type, other, one)
}

// listener finds the listener with a name.
func (n *unixNet) listener(name []byte, typ int) *unixSock {
	for _, s := range n.socks {
		if s.rec.Listen != nil && s.rec.Type == typ && s.rec.Name != nil && bytes.Equal(s.rec.Name.Path, name) {
			return s
		}
	}
	return nil
}

// connect makes a connection from client to server.
func (n *unixNet) connect(typ int, client, server end) error {
	d, err := n.door(typ, server.name.Path, client.cred)
	if err != nil {
		return err
	}
	if err := n.socket(typ, client.num); err != nil {
		return err
	}
	if client.name != nil {
		if _, err := n.bindName(client.num, &UnixName{Path: client.name.Path}); err != nil {
			return err
		}
	}
	if err := n.knock(client.num, server.cred, d.addr); err != nil {
		return err
	}
	return n.open(server.num, unix.SYS_ACCEPT4, d.num, 0, 0, unix.SOCK_CLOEXEC)
}

// knock connects a socket as somebody.
func (n *unixNet) knock(num int, c *Cred, addr []byte) error {
	p, err := n.stand.as(c)
	if err != nil {
		return err
	}
	if _, err = p.Call(unix.SYS_CONNECT, num, addr, len(addr)); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// door gives a listener with a name, on which listen(2) was called by the one
// whom clients see. An abstract name may belong to a listener of the tree.
func (n *unixNet) door(typ int, name []byte, c *Cred) (*door, error) {
	if s := n.listener(name, typ); s != nil && name[0] == 0 {
		return &door{s.num, sockaddr(name)}, nil
	}
	key := doorKey{name: string(name), typ: typ}
	if c != nil {
		key.cred = c.ids()
	}
	if d := n.doors[key]; d != nil {
		return d, nil
	}
	d := &door{num: n.temp()}
	if err := n.socket(typ, d.num); err != nil {
		return nil, err
	}
	ref, err := n.bindName(d.num, &UnixName{Path: name})
	if err != nil {
		return nil, err
	}
	d.addr = n.address(name, ref)
	p, err := n.stand.as(c)
	if err != nil {
		return nil, err
	}
	if _, err := p.Call(unix.SYS_LISTEN, d.num, 1); err != nil {
		return nil, err
	}
	n.doors[key] = d
	return d, nil
}

// address is where the builder and its stand-ins find a socket. A path need
// not lead to it: the descriptor does.
func (n *unixNet) address(name []byte, ref int) []byte {
	if ref < 0 {
		return sockaddr(name)
	}
	return sockaddr(fmt.Appendf(nil, "/proc/self/fd/%d\x00", ref))
}

// queueUp makes the connections that wait for a listener.
func (n *unixNet) queueUp(s *unixSock) error {
	if s.rec.Listen == nil {
		return nil
	}
	for i := range s.rec.Listen.Waiting {
		w := &s.rec.Listen.Waiting[i]
		client := n.byID[w.ID]
		if client == nil {
			continue // a rule left it out
		}
		if client.rec.connected() || client.rec.Type != s.rec.Type {
			return errors.New("what waits for it is connected")
		}
		if err := n.knock(client.num, &w.Cred, n.address(s.rec.Name.Path, s.ref)); err != nil {
			return err
		}
	}
	return nil
}

// connectDatagrams connects datagram sockets to what they send to. One that is
// connected itself takes nothing from others, and so must not be before
// others are connected to it.
func (n *unixNet) connectDatagrams() error {
	var left []*unixSock
	for _, s := range n.socks {
		rec := s.rec
		if rec.Type == unix.SOCK_DGRAM && rec.Cred == nil && (rec.Peer != 0 || rec.Gone != nil) {
			left = append(left, s)
		}
	}
	for len(left) > 0 {
		var later []*unixSock
		for _, s := range left {
			err := n.connectDatagram(s)
			switch {
			case errors.Is(err, unix.EPERM):
				later = append(later, s)
			case err != nil:
				return fmt.Errorf("connect unix %s: %w", s.link, err)
			}
		}
		if len(later) == len(left) {
			return fmt.Errorf("connect unix %s: what it sends to takes nothing from it", later[0].link)
		}
		left = later
	}
	return nil
}

func (n *unixNet) connectDatagram(s *unixSock) error {
	if peer := n.byID[s.rec.Peer]; peer != nil {
		if peer.rec.Name == nil {
			return errors.New("what it sends to has no name")
		}
		return n.knock(s.num, nil, n.address(peer.rec.Name.Path, peer.ref))
	}
	if s.to != nil {
		if done, err := n.sendTo(s); done || err != nil {
			return err
		}
	}
	name := s.rec.Gone.Name
	if len(name) == 0 {
		return nil // left out by a rule: it sends to nobody
	}
	num := n.o.Reserve()
	if err := n.socket(s.rec.Type, num); err != nil {
		return err
	}
	ref, err := n.bindName(num, &UnixName{Path: name})
	if err != nil {
		return err
	}
	if err := n.knock(s.num, nil, n.address(name, ref)); err != nil {
		return err
	}
	return n.closeNow(num)
}
