package netstate

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/policy"
)

// A connection whose other end is outside the tree comes to an end with a
// restart, unless a rule says otherwise. The program reads what it had received;
// a helper at the other end, which sends that once more, then goes away as the
// rule says.

// outsideState is what the program sees of a state, whatever the other end has
// acknowledged by then.
func outsideState(s TCPState) TCPState {
	switch s {
	case tcpFinWait1:
		return tcpFinWait2
	case tcpClosing, tcpLastAck:
		return tcpCloseWait
	}
	return s
}

// captureOutside records this end of a connection that leads out of the tree.
func (s *tcpSurvey) captureOutside(rec *TCP, e *tcpEnd, fd int) error {
	rec.Outside, rec.Accepted = true, s.listener(e.entry.local) != nil
	rec.State = outsideState(rec.State)
	if e.desc.Rule().Does(policy.Keep) {
		if err := s.kept.keep(rec, fd); err != nil {
			return err
		}
	}
	return s.readQueue(rec, e, fd)
}

// endsOf are a socket's ends for rules.
func (s *tcpSurvey) endsOf(d *fdstate.Desc) policy.Ends {
	if s.look() != nil {
		return policy.Ends{} // capture gives the error
	}
	e := s.ends[uint32(d.Stat.Ino)]
	if e.entry == nil {
		return policy.Ends{}
	}
	rec := &TCP{Local: e.entry.local, Peer: e.entry.peer, State: e.entry.state, Accepted: s.listener(e.entry.local) != nil}
	return rec.Ends()
}

// Ends are the socket's for rules.
func (rec *TCP) Ends() policy.Ends {
	var e policy.Ends
	if rec.Local.IsValid() {
		e.Local = plain(rec.Local).String()
	}
	switch {
	case rec.State == tcpListen:
		e.Direction = "listen"
		return e
	case !rec.Peer.IsValid():
		return e
	case rec.Accepted:
		e.Direction = "in"
	default:
		e.Direction = "out"
	}
	e.Peer = plain(rec.Peer).String()
	return e
}

// fate is what a rule says of a socket, and what comes of that.
type fate struct {
	rule  *policy.Rule
	kept  bool // it is the connection that it was
	own   int  // our descriptor of that
	anew  bool // it is connected to somebody outside
	reset bool // its connection is lost, and it gets ECONNRESET
}

// decide does to sockets what their rules say.
func (n *tcpNet) decide() error {
	for _, s := range n.socks {
		var err error
		switch {
		case s.rec.Outside:
			err = n.decideOutside(s)
		case s.rule.Does(policy.Bind) && s.rec.Local.IsValid():
			s.rec.Local, err = ruleEnd(s.rule, s.rec.Domain)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ruleEnd is the address that a rule gives to a socket of a family.
func ruleEnd(rule *policy.Rule, domain int) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(rule.To)
	family := "IPv4"
	if domain == unix.AF_INET6 {
		family = "IPv6"
	}
	switch is6 := domain == unix.AF_INET6; {
	case err == nil && is6 && at.Addr().Is4():
		at = netip.AddrPortFrom(netip.AddrFrom16(at.Addr().As16()), at.Port())
	case err != nil || at.Addr().Is4() == is6:
		return at, &HostError{Why: fmt.Sprintf("%s (%s) is no address for a socket of %s", rule.To, rule.Origin, family), Hint: "change the policy"}
	}
	return at, nil
}

// decideOutside chooses what becomes of a connection that leads out of the tree.
func (n *tcpNet) decideOutside(s *tcpSock) error {
	switch rec := s.rec; {
	case s.rule.Does(policy.Keep) && rec.Repair == nil:
		return &HostError{Why: fmt.Sprintf("the connection between %s and %s cannot be kept (%s): the snapshot was not made for that", rec.Local, rec.Peer, s.rule.Origin),
			Hint: "take it by checkpoint --stop --tcp=keep, or use --tcp=reset"}
	case s.rule.Does(policy.Keep) && n.private:
		return &HostError{Why: fmt.Sprintf("the connection between %s and %s cannot be kept in a network namespace of the tree's own", rec.Local, rec.Peer),
			Hint: "use --net=host, or --tcp=reset"}
	case s.rule.Does(policy.Keep):
		s.kept = true
		return nil
	case s.rule.Does(policy.Connect):
		if s.rule.To != "" {
			var err error
			if rec.Peer, err = ruleEnd(s.rule, rec.Domain); err != nil {
				return err
			}
		}
		// Nothing of the old connection is left; the kernel chooses the port.
		rec.Local, rec.Queue, rec.Urgent = netip.AddrPort{}, nil, nil
		s.anew = true
		return nil
	}
	// The end that the other side has sent stays what it was.
	s.reset = !s.rule.Does(policy.Hangup) && s.rec.State != tcpCloseWait
	s.rec.Peer = netip.AddrPort{}
	return n.findDoor(s)
}

// findDoor makes sure that the helper of a lost connection can be reached: its
// address may be gone, or another's. It is lost all the same.
func (n *tcpNet) findDoor(s *tcpSock) error {
	trial := &tcpSock{rec: &TCP{Domain: s.rec.Domain, State: tcpEstablished, Local: s.rec.Local}, link: s.link}
	n.open(trial)
	if err := n.o.Run(); err != nil {
		return err
	}
	err := n.with(trial, func(t *tcpSock, fd int) error {
		err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, sockaddrOf(t.rec.Domain, t.rec.Local)))
		if err == nil {
			return unix.Listen(fd, 1)
		}
		loopback := netip.IPv6Loopback()
		if t.rec.Domain == unix.AF_INET {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		if err := unix.Bind(fd, sockaddrOf(t.rec.Domain, netip.AddrPortFrom(loopback, 0))); err != nil {
			return fmt.Errorf("bind to the loopback: %w", err)
		}
		s.rec.Local, err = addrPort(unix.Getsockname(fd))
		return err
	})
	n.close(trial)
	return errors.Join(err, n.o.Run())
}

// reconnect connects a socket to somebody outside.
func (n *tcpNet) reconnect(s *tcpSock) error {
	if !s.anew {
		return nil
	}
	return n.with(s, func(s *tcpSock, fd int) error {
		if _, err := n.connect(s, fd, s.rec.Peer, false); err != nil {
			return &HostError{Why: "cannot connect to " + s.rec.Peer.String() + " again", Err: err, Hint: "start the program that serves it, or say reset"}
		}
		return nil
	})
}

// leave closes a helper: by FIN, or by RST, for which the other end gets
// ECONNRESET (man 7 socket, SO_LINGER).
func (n *tcpNet) leave(s *tcpSock) error {
	if !s.helper {
		return nil
	}
	if s.other.reset {
		err := n.with(s, func(_ *tcpSock, fd int) error {
			return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
		if err != nil {
			return err
		}
	}
	_, err := s.home.Call(unix.SYS_CLOSE, s.num)
	s.home = nil
	return err
}
