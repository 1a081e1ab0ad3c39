package netstate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// tcpNet is the TCP sockets of one restart. They are made together, in the
// builder: both ends of a connection are needed to make it.
type tcpNet struct {
	socks []*tcpSock
	byID  map[uint64]*tcpSock

	o      *fdstate.Opener
	pidfds map[*task.Process]int // of those that have sockets
	doors  map[uint16]bool       // ports that the tree listens on
	pairs  []*tcpPair
	keeping
}

// tcpSock is a socket in the making.
type tcpSock struct {
	rec   *TCP
	flags int
	link  string
	file  *fdstate.File // nil: it is ours for the moment
	home  *task.Process // that has it; nil: nobody has
	num   int           // there

	accepted bool // a door makes it
	connects bool // it is made when it is connected
	helper   bool // the end of a connection that is closed in the end
	other    *tcpSock

	fate
}

// way is how a socket comes back.
type way int

const (
	alone   way = iota // it has no part in a connection
	paired             // both ends are made, and connected through a door
	closing            // the same; the other end is ours, and is closed
	lined              // it waits to be accepted by a listener of the tree
)

// way chooses.
func (n *tcpNet) way(s *tcpSock) way {
	rec := s.rec
	switch {
	case rec.Waits > 0:
		return lined
	case rec.connected() && rec.Other != 0 && n.byID[rec.Other] != nil:
		return paired
	case s.anew, s.kept:
		return alone
	case rec.connected(), rec.State == tcpClose && rec.Shutdown != 0 && rec.Local.Port() != 0:
		return closing
	}
	return alone
}

func (n *tcpNet) add(s *tcpSock) {
	n.socks = append(n.socks, s)
	n.byID[s.rec.ID] = s
}

// tcpSteps in order; each comment says what must already hold.
var tcpSteps = []struct {
	what string
	run  func(*tcpNet, *tcpSock) error
}{
	{"listen on", (*tcpNet).listen},              // doors are closed: two cannot listen at one place
	{"connect", (*tcpNet).reconnect},             // before there is anything to be lost
	{"fill", (*tcpNet).fill},                     // connections are made
	{"set the options of", (*tcpNet).adjust},     // limits hold from here on
	{"queue up for a listener", (*tcpNet).knock}, // listeners pass on their options
	{"close the other end of", (*tcpNet).leave},  // nothing is sent from here on
	{"shut down", (*tcpNet).shutDown},            // after it: the kernel cares longest for what is closed first
}

// restore makes all sockets.
func (n *tcpNet) restore(o *fdstate.Opener) error {
	n.o = o
	defer n.closePidfds()
	if err := n.decide(); err != nil {
		return err
	}
	if err := n.planPairs(); err != nil {
		return err
	}
	if err := n.makeSockets(); err != nil {
		return err
	}
	if err := n.connectPairs(); err != nil {
		return err
	}
	for _, step := range tcpSteps {
		for _, s := range n.socks {
			if err := step.run(n, s); err != nil {
				return fmt.Errorf("%s tcp %s: %w", step.what, s.link, err)
			}
		}
	}
	n.put()
	return o.Run()
}

// makeSockets makes those that have no part in a connection, or not yet.
func (n *tcpNet) makeSockets() error {
	var list []*tcpSock
	for _, s := range n.socks {
		if !s.accepted && !s.connects {
			list = append(list, s)
		}
	}
	for len(list) > 0 {
		some, err := n.fit(len(list), 1)
		if err != nil {
			return err
		}
		if err := n.makeSome(list[:some]); err != nil {
			return err
		}
		list = list[some:]
	}
	return nil
}

func (n *tcpNet) makeSome(list []*tcpSock) error {
	for _, s := range list {
		n.open(s)
	}
	if err := n.o.Run(); errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return &HostError{Why: "this kernel has no MPTCP, or no IPv6, which a socket of the tree was made for", Err: err, Hint: "see sysctl net.mptcp.enabled"}
	} else if err != nil {
		return err
	}
	for _, s := range list {
		if n.way(s) == lined {
			continue
		}
		bring := func(s *tcpSock, fd int) error { return n.prepare(s, fd, false) }
		if s.kept {
			bring = n.revive
		}
		if err := n.patiently(s.rec.Local, func() error { return n.with(s, bring) }); err != nil {
			return fmt.Errorf("make tcp %s: %w", s.link, err)
		}
	}
	return nil
}

// open queues the making of a socket.
func (n *tcpNet) open(s *tcpSock) {
	n.house(s)
	n.o.Open(fdstate.Slot{Num: s.num, CloseOnExec: true}, "socket", unix.SYS_SOCKET, s.rec.Domain,
		unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, s.rec.protocol())
}

// with calls fn with our own copy of a socket.
func (n *tcpNet) with(s *tcpSock, fn func(s *tcpSock, fd int) error) error {
	pidfd, err := n.pidfd(s.home)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdGetfd(pidfd, s.num, 0)
	if err != nil {
		return fmt.Errorf("pidfd_getfd %d: %w", s.num, err)
	}
	defer unix.Close(fd)
	return fn(s, fd)
}

// prepare sets what must be set before bind(2), and binds. Until all sockets
// are made they share ports as they must (SO_REUSEADDR). late leaves the port
// to connect(2).
func (n *tcpNet) prepare(s *tcpSock, fd int, late bool) error {
	if err := setOptions(fd, s.rec.Options, atFirst); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	at := s.rec.Local
	if !at.IsValid() || at.Port() == 0 && at.Addr().IsUnspecified() {
		return nil
	}
	if late || at.Port() == 0 { // it was bound to an address alone
		if err := setPortRange(fd, int(at.Port()), 1); err != nil {
			return err
		}
		at = netip.AddrPortFrom(at.Addr(), 0)
	}
	return explainBind(s.rec.Local, unix.Bind(fd, sockaddrOf(s.rec.Domain, at)))
}

// explainBind makes a HostError of what bind(2) says about an address.
func explainBind(at netip.AddrPort, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		return &HostError{Why: fmt.Sprintf("the address %s of a TCP socket is in use", at), Err: err,
			Hint: "end the program that uses it (ss -tanp shows it), or wait until its last connections are forgotten"}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return &HostError{Why: fmt.Sprintf("the address %s of a TCP socket is not one of this host", at), Err: err,
			Hint: "add it to an interface (ip address add)"}
	case errors.Is(err, unix.EACCES):
		return &HostError{Why: fmt.Sprintf("only an administrator may use the port of %s", at), Err: err,
			Hint: "restart it as root, or see sysctl net.ipv4.ip_unprivileged_port_start"}
	}
	return fmt.Errorf("bind to %s: %w", at, err)
}

// sockaddrOf gives an address to a system call.
func sockaddrOf(domain int, at netip.AddrPort) unix.Sockaddr {
	if domain == unix.AF_INET {
		return &unix.SockaddrInet4{Addr: at.Addr().Unmap().As4(), Port: int(at.Port())}
	}
	return &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port()), ZoneId: zoneIndex(at.Addr().Zone())}
}

// zoneIndex is the number of the interface that an address belongs to.
func zoneIndex(zone string) uint32 {
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	index, _ := strconv.Atoi(zone)
	return uint32(index)
}

// listen lets a socket listen.
func (n *tcpNet) listen(s *tcpSock) error {
	if s.rec.Listen == nil {
		return nil
	}
	return n.with(s, func(s *tcpSock, fd int) error {
		return n.patiently(s.rec.Local, func() error {
			return explainBind(s.rec.Local, unix.Listen(fd, s.rec.Listen.Backlog))
		})
	})
}

// adjust sets the socket's options and flags.
func (n *tcpNet) adjust(s *tcpSock) error {
	if s.helper {
		return nil
	}
	return n.with(s, func(s *tcpSock, fd int) error {
		for i := range s.rec.Options {
			o := &s.rec.Options[i]
			row := o.row()
			if row.when == atFirst && (!s.accepted || o.is(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)) {
				continue
			}
			if err := o.set(fd); err != nil {
				return err
			}
		}
		if !s.rec.has(unix.SOL_SOCKET, unix.SO_REUSEADDR) {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0); err != nil {
				return fmt.Errorf("set SO_REUSEADDR: %w", err)
			}
		}
		if err := s.rec.Buffers.set(fd); err != nil {
			return err
		}
		if err := s.rec.Filter.set(fd); err != nil {
			return err
		}
		if n.way(s) == lined { // connect(2) is to come
			return nil
		}
		return s.setFlags(fd)
	})
}

// setFlags gives the description its flags.
func (s *tcpSock) setFlags(fd int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, s.flags&^unix.O_ASYNC); err != nil {
		return fmt.Errorf("fcntl F_SETFL: %w", err)
	}
	return nil
}

// is tells whether it is that option.
func (o *Option) is(level, name int) bool { return o.Level == level && o.Name == name }

// knock makes the connections that wait for a listener, in their order.
func (n *tcpNet) knock(s *tcpSock) error {
	if s.rec.Listen != nil {
		for _, from := range s.rec.Listen.Closed {
			if err := n.knockAndGo(from); err != nil {
				return err
			}
		}
		return nil
	}
	if s.rec.Waits != 1 { // the first calls all
		return nil
	}
	for _, s := range n.inLine() {
		if err := errors.Join(n.knockAs(s), n.with(s, (*tcpSock).setFlags)); err != nil {
			return err
		}
	}
	return nil
}

// shutDown closes the directions that were closed.
func (n *tcpNet) shutDown(s *tcpSock) error {
	how := s.rec.Shutdown
	if s.other != nil && (s.other.helper || s.other.rec.Shutdown&shutWrite != 0) {
		how &^= shutRead // that the other end does
	}
	if s.kept {
		how &^= shutWrite // it was, or will be
		if s.rec.State.otherFIN() {
			how &^= shutRead // that is done by the other's end
		}
	}
	if how == 0 || s.helper {
		return nil
	}
	return n.with(s, func(s *tcpSock, fd int) error {
		err := unix.Shutdown(fd, int(how)-1)
		if errors.Is(err, unix.ENOTCONN) && (s.rec.State == tcpClose || s.reset) {
			return nil // it is shut down all the same (Linux net/ipv4/af_inet.c:inet_shutdown, v6.12)
		}
		return err
	})
}

// accept takes the connections that wait at a door, as the builder, and gives
// its numbers for them by who is at the other end.
func (n *tcpNet) accept(door, count int) (map[netip.AddrPort]int, error) {
	const room = 32
	var b task.Batch
	names, calls := make([][]byte, count), make([]*task.Call, count)
	for i := range calls {
		names[i] = make([]byte, room)
		calls[i] = b.Add(unix.SYS_ACCEPT4, door, names[i], []byte{room, 0, 0, 0}, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK).Optional()
	}
	if err := n.o.Proc.Run(&b); err != nil {
		return nil, err
	}
	got := map[netip.AddrPort]int{}
	for i, c := range calls {
		switch err := c.Err(); {
		case errors.Is(err, unix.EAGAIN):
		case err != nil:
			return nil, fmt.Errorf("accept: %w", err)
		default:
			from, _ := Addr(names[i]).inet()
			got[plain(from)] = int(c.Ret)
		}
	}
	return got, nil
}
