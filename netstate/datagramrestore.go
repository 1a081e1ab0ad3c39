package netstate

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/policy"
)

// datagramNet is the datagram sockets of one restart.
type datagramNet struct {
	socks []*datagramSock

	o       *fdstate.Opener
	senders map[string]*sender // by the address that they stand for
	local   map[netip.Addr]bool
}

// datagramSock is a socket in the making.
type datagramSock struct {
	rec   *Datagram
	rule  *policy.Rule
	flags int
	link  string
	num   int // where the builder has it
	fd    int // ours of it
	usual int // the size of its receive buffer when it was new
}

// datagramSteps in order; each comment says what must already hold.
var datagramSteps = []struct {
	what string
	run  func(*datagramNet, *datagramSock) error
}{
	{"move", (*datagramNet).move},
	{"redirect", (*datagramNet).redirect}, // it is known who is in the tree, and where
	{"make", (*datagramNet).make},
	{"fill", (*datagramNet).fill},     // those that send have their addresses, and are connected to nobody
	{"finish", (*datagramNet).finish}, // nothing of ours comes any more
}

// restore makes all sockets.
func (n *datagramNet) restore(o *fdstate.Opener) error {
	if err := o.Run(); err != nil {
		return err
	}
	n.o = o
	err := n.run()
	for _, s := range n.socks {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
	}
	for _, s := range n.senders {
		err = errors.Join(err, s.close())
	}
	return err
}

func (n *datagramNet) run() error {
	for _, step := range datagramSteps {
		for _, s := range n.socks {
			if err := step.run(n, s); err != nil {
				return fmt.Errorf("%s %s: %w", step.what, s.link, err)
			}
		}
	}
	return nil
}

// socket makes a socket in the builder, whose network namespace it is in, and
// gives our own descriptor of it.
func (n *datagramNet) socket(num, domain, typ, protocol int) (int, error) {
	if err := openAt(n.o.Proc, num, unix.SYS_SOCKET, domain, typ|unix.SOCK_CLOEXEC, protocol); err != nil {
		return -1, err
	}
	return n.o.Copy(num)
}

// make makes a socket where it was.
func (n *datagramNet) make(s *datagramSock) error {
	rec := s.rec
	var err error
	s.fd, err = n.socket(s.num, rec.Domain, rec.Type, rec.Protocol)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return &HostError{Why: "this user may not make raw or ping sockets here", Hint: "restart it as root; see sysctl net.ipv4.ping_group_range", Err: err}
	}
	if err != nil {
		return err
	}
	if s.usual, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil {
		return err
	}
	if err := setOptions(s.fd, rec.Settings.Options, atFirst); err != nil || len(rec.Local) == 0 {
		return err
	}
	return n.bindError(rec, useAddr(unix.SYS_BIND, s.fd, rec.Local))
}

// bindError tells why an address cannot be had.
func (n *datagramNet) bindError(rec *Datagram, err error) error {
	at := rec.Local
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		addr, _ := at.inet()
		return &HostError{Why: fmt.Sprintf("another program uses the address %s%s", at, occupant(n.o.Proc, uint8(rec.Protocol), addr)), Hint: "end it first", Err: err}
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENODEV):
		return &HostError{Why: fmt.Sprintf("this host does not have the address %s", at), Hint: "add it to an interface", Err: err}
	case errors.Is(err, unix.EACCES):
		return &HostError{Why: fmt.Sprintf("this user may not use the address %s", at), Hint: "restart it as root", Err: err}
	case err != nil:
		return fmt.Errorf("bind to %s: %w", at, err)
	}
	return nil
}

// finish connects a socket, and gives it what would have kept its queue from
// being filled.
func (n *datagramNet) finish(s *datagramSock) error {
	rec := s.rec
	if rec.Unreachable {
		if err := n.provoke(s); err != nil {
			return err
		}
	}
	if len(rec.Peer) > 0 {
		if err := useAddr(unix.SYS_CONNECT, s.fd, rec.Peer); err != nil {
			return &HostError{Why: fmt.Sprintf("a socket cannot be connected to %s", rec.Peer), Hint: "see `ip route get`", Err: err}
		}
	}
	for i := range rec.Groups {
		if err := rec.Groups[i].join(s.fd); err != nil {
			return err
		}
	}
	if b := &rec.Settings.Buffers; b.Receive == 0 && len(rec.Queue) > 0 {
		b.Receive = s.usual
	}
	if err := rec.Settings.complete(s.fd); err != nil {
		return err
	}
	if how := int(rec.Shutdown) - 1; how >= 0 && how <= unix.SHUT_RDWR {
		// It works, and says ENOTCONN, on a socket without a peer (Linux
		// net/ipv4/af_inet.c:inet_shutdown, v6.12).
		if err := unix.Shutdown(s.fd, how); err != nil && !errors.Is(err, unix.ENOTCONN) {
			return err
		}
	}
	_, err := unix.FcntlInt(uintptr(s.fd), unix.F_SETFL, s.flags&^unix.O_ASYNC)
	return err
}

// provoke has a socket get the error that nobody is at its peer's address: it
// asks at a port that has just been closed.
func (n *datagramNet) provoke(s *datagramSock) error {
	local, _ := s.rec.Local.inet()
	num := n.o.Reserve()
	fd, err := n.socket(num, s.rec.Domain, unix.SOCK_DGRAM, s.rec.Protocol)
	if err != nil {
		return err
	}
	err = useAddr(unix.SYS_BIND, fd, inetAddr(s.rec.Domain, netip.AddrPortFrom(local.Addr(), 0)))
	at, nameErr := addrOf(unix.SYS_GETSOCKNAME, fd)
	_, closeErr := n.o.Proc.Call(unix.SYS_CLOSE, num)
	if err := errors.Join(err, nameErr, closeErr, unix.Close(fd)); err != nil {
		return fmt.Errorf("find a port where nobody is: %w", err)
	}
	if err := useAddr(unix.SYS_CONNECT, s.fd, at); err != nil {
		return fmt.Errorf("connect to %s: %w", at, err)
	}
	if _, err := sendTo(s.fd, nil, nil, nil); err != nil {
		return fmt.Errorf("send to %s: %w", at, err)
	}
	ready, err := fdstate.Poll(s.fd, 0)
	if err == nil && ready&unix.POLLERR == 0 {
		err = fmt.Errorf("no answer that nobody is at %s", at)
	}
	return err
}
