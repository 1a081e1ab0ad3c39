package netstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/policy"
)

// datagramSurvey is what one snapshot knows of the host.
type datagramSurvey struct {
	tables inetTables
	fresh  usuals
	shut   map[datagramFamily]map[uint32]uint8 // see shutdown
	groups []group
	asked  bool // groups are there
}

// capture makes the record.
func (s *datagramSurvey) capture(d *fdstate.Desc, all *fdstate.Survey) (fdstate.Record, error) {
	fd, err := d.Copy()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	sock := d.Socket
	rec := &Datagram{Domain: sock.Domain, Type: sock.Type, Protocol: sock.Protocol}
	e, err := s.tables.find(d.PID, sock.Domain, sock.Type, sock.Protocol, d.Stat.Ino)
	if err != nil {
		return nil, err
	}
	if err := rec.refuse(fd, e); err != nil {
		return nil, err
	}
	if err := errors.Join(rec.addresses(fd, e), s.settings(rec, fd, all), s.shutdown(rec, d.Stat.Ino, all), s.memberships(rec, fd, d)); err != nil {
		return nil, err
	}
	return rec, rec.waiting(d, all, fd, e)
}

// endsOf are those of a socket of a running tree.
func (s *datagramSurvey) endsOf(d *fdstate.Desc) policy.Ends {
	rec := &Datagram{Domain: d.Socket.Domain, Type: d.Socket.Type, Protocol: d.Socket.Protocol}
	fd, err := d.Copy()
	if err != nil {
		return policy.Ends{}
	}
	defer unix.Close(fd)
	e, err := s.tables.find(d.PID, rec.Domain, rec.Type, rec.Protocol, d.Stat.Ino)
	if err != nil || rec.addresses(fd, e) != nil {
		return policy.Ends{}
	}
	return rec.Ends()
}

// refuse refuses what cannot be read back.
func (rec *Datagram) refuse(fd int, e inetEntry) error {
	if e.unsent > 0 {
		return fdstate.RefuseNow("it has data that it has not sent yet (UDP_CORK or MSG_MORE)")
	}
	if !rec.udp() {
		return nil
	}
	encap, err := unix.GetsockoptInt(fd, solUDP, udpEncap)
	switch {
	case err != nil:
		return fmt.Errorf("getsockopt UDP_ENCAP: %w", err)
	case encap != 0:
		return fdstate.Refuse("it takes apart the packets of a tunnel (UDP_ENCAP)", "")
	}
	return nil
}

// addresses reads where it is, and what it is connected to.
func (rec *Datagram) addresses(fd int, e inetEntry) error {
	local, err := addrOf(unix.SYS_GETSOCKNAME, fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	at, ok := local.inet()
	if !ok {
		return fmt.Errorf("getsockname: %s", local)
	}
	if at.Port() != 0 && rec.Type == unix.SOCK_DGRAM || !at.Addr().IsUnspecified() {
		rec.Local = local
	}
	if !e.connected {
		return nil
	}
	rec.Peer, err = addrOf(unix.SYS_GETPEERNAME, fd)
	if errors.Is(err, unix.ENOTCONN) { // it has no port
		rec.Peer, err = inetAddr(rec.Domain, e.remote), nil
	}
	if err != nil {
		return fmt.Errorf("getpeername: %w", err)
	}
	return nil
}

// settings reads what can be set.
func (s *datagramSurvey) settings(rec *Datagram, fd int, all *fdstate.Survey) error {
	var err error
	rec.Settings, err = readSettings(fd, s.fresh.of(all, rec.Domain, rec.Type, rec.Protocol), socketOptions, ipOptions, ip6Options, rawOptions, udpOptions)
	if err != nil {
		return err
	}
	ready, err := fdstate.Poll(fd, unix.POLLIN|unix.POLLRDHUP)
	switch {
	case ready&unix.POLLHUP != 0:
		rec.Shutdown = shutRead | shutWrite
	case ready&unix.POLLRDHUP != 0:
		rec.Shutdown = shutRead
	}
	return err
}

// datagramFamily are sockets that one dump of INET_DIAG lists.
type datagramFamily struct{ domain, protocol int }

// shutdown finds out whether a socket of UDP may no longer send, which poll(2)
// does not tell. Sockets without an address are not listed, nor are any by a
// kernel without UDP_DIAG; those that were shut down come back open there.
func (s *datagramSurvey) shutdown(rec *Datagram, ino uint64, all *fdstate.Survey) error {
	if !rec.udp() {
		return nil
	}
	of := datagramFamily{rec.Domain, rec.Protocol}
	if s.shut[of] == nil {
		diag, err := openNetlink(all, unix.NETLINK_SOCK_DIAG)
		if err != nil {
			return err
		}
		defer unix.Close(diag)
		found := map[uint32]uint8{}
		err = inetDiagRequest(uint8(of.domain), uint8(of.protocol), 1<<32-1).ask(diag, func(b []byte) error {
			e, err := parseInetDiag(b)
			if err == nil && e.shutdown != 0 {
				found[e.ino] = e.shutdown
			}
			return err
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("ask for UDP sockets: %w", err)
		}
		s.shut[of] = found
	}
	rec.Shutdown |= s.shut[of][uint32(ino)] & shutWrite
	return nil
}

// memberships finds the groups that it is in.
func (s *datagramSurvey) memberships(rec *Datagram, fd int, d *fdstate.Desc) error {
	var err error
	if !s.asked {
		if s.groups, err = readGroups(d.PID); err != nil {
			return err
		}
		s.asked = true
	}
	rec.Groups, err = readMemberships(fd, s.groups)
	return err
}

// waiting records what waits to be read: an error, or datagrams.
func (rec *Datagram) waiting(d *fdstate.Desc, all *fdstate.Survey, fd int, e inetEntry) error {
	ready, err := fdstate.Poll(fd, unix.POLLIN)
	switch {
	case err != nil:
		return err
	case ready&unix.POLLERR != 0 && e.unread == 0 && rec.knownError():
		rec.Unreachable = true
		return nil
	case ready&unix.POLLERR != 0:
		return fdstate.RefuseNow("an error waits to be read from it")
	case e.unread == 0:
		return nil
	case !rec.udp():
		return fdstate.RefuseNow("packets wait to be read from it")
	case rec.Shutdown&shutRead != 0:
		return fdstate.RefuseNow("datagrams wait in it, and it has been shut down")
	case d.InFlight():
		return fdstate.RefuseNow("datagrams wait in it, and no process has it while it is in a message")
	}
	p := &datagramPeek{fd: fd, rec: rec}
	options, err := lend(fd, peekOptions...)
	if err != nil {
		return err
	}
	if err := lookInside(d, all, options, p.all); err != nil {
		return err
	}
	return p.refuse(e)
}

// knownError tells what an error must be without taking it away: a peer on
// this host only ever answers that its port is closed, and a program that has
// asked for no more (IP_RECVERR, time stamps) hears of nothing else (Linux
// net/ipv4/udp.c:__udp4_lib_err, v6.12).
func (rec *Datagram) knownError() bool {
	asked := rec.Settings.option(unix.IPPROTO_IP, unix.IP_RECVERR) | rec.Settings.option(unix.IPPROTO_IPV6, unix.IPV6_RECVERR) |
		rec.Settings.option(unix.SOL_SOCKET, unix.SO_TIMESTAMPING) | rec.Settings.option(unix.SOL_SOCKET, unix.SO_ZEROCOPY)
	peer, ok := rec.Peer.inet()
	local, _ := rec.Local.inet()
	return asked == 0 && ok && rec.udp() && (peer.Addr().Unmap().IsLoopback() || peer.Addr() == local.Addr())
}
