package netstate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// tcpSurvey is what one snapshot knows of the TCP sockets of its tree.
type tcpSurvey struct {
	all     *fdstate.Survey
	table   *tcpTable
	ends    map[uint32]*tcpEnd // by inode
	list    []*tcpEnd
	doors   []*tcpEnd // of these, those that listen
	fresh   usuals    // of new sockets
	cookie  uint64    // of the tree's network namespace
	settled bool      // everything on its way has arrived
	kept    *kept
}

// tcpEnd is a socket of the tree.
type tcpEnd struct {
	desc  *fdstate.Desc
	entry *tcpEntry // nil in state CLOSE
	other *tcpEntry // the other end, if it is on this host
	place int       // among the connections that wait to be accepted
}

// isTCP matches sockets of TCP, and of MPTCP, which may be TCP in the end.
func isTCP(d *fdstate.Desc) bool {
	s := d.Socket
	return isSocket(d) && (s.Domain == unix.AF_INET || s.Domain == unix.AF_INET6) && s.Type == unix.SOCK_STREAM &&
		(s.Protocol == unix.IPPROTO_TCP || s.Protocol == unix.IPPROTO_MPTCP)
}

// explore makes the socket known to those that are captured.
func (s *tcpSurvey) explore(d *fdstate.Desc, all *fdstate.Survey) error {
	s.all = all
	e := &tcpEnd{desc: d}
	s.ends[uint32(d.Stat.Ino)] = e
	s.list = append(s.list, e)
	return nil
}

// leadsOutside tells whether the other end of a connection is not in the tree.
func (s *tcpSurvey) leadsOutside(d *fdstate.Desc) bool {
	if s.look() != nil {
		return false // capture gives the error
	}
	e := s.ends[uint32(d.Stat.Ino)]
	return e.entry != nil && e.entry.state.in(tcpEstablished, tcpCloseWait, tcpFinWait2) && s.origin(e) == outside
}

// look reads what the kernel tells of all sockets.
func (s *tcpSurvey) look() error {
	if s.table != nil {
		return nil
	}
	diag, err := openNetlink(s.all, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(diag)
	if s.cookie, err = unix.GetsockoptUint64(diag, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil {
		return fmt.Errorf("getsockopt SO_NETNS_COOKIE: %w", err)
	}
	if s.table, err = readTCPTable(diag); err != nil {
		return err
	}
	s.doors = nil
	for _, e := range s.list {
		e.entry, e.other = s.table.byIno[uint32(e.desc.Stat.Ino)], nil
		switch {
		case e.entry == nil:
		case e.entry.state == tcpListen:
			s.doors = append(s.doors, e)
		default:
			e.other = s.table.byKey[tcpKey{e.entry.local, e.entry.peer}.swap()]
		}
	}
	return nil
}

// origin tells where the other end of a connection is.
type origin int

const (
	outside  origin = iota // of the tree
	inTree                 // a process of the tree has it
	waiting                // to be accepted by a process of the tree
	orphaned               // closed, and the kernel still cares for it
	gone                   // closed, and forgotten
)

func (s *tcpSurvey) origin(e *tcpEnd) origin {
	switch other := e.other; {
	case other == nil && e.entry.state == tcpCloseWait && (e.entry.peer.Addr().IsLoopback() || s.table.ours[e.entry.peer.Addr()]):
		return gone
	case other == nil:
		return outside
	case other.ino != 0 && s.ends[other.ino] != nil:
		return inTree
	case other.ino != 0:
		return outside
	case other.state.in(tcpEstablished, tcpCloseWait, tcpSynRecv, tcpNewSynRecv):
		if s.listener(other.local) == nil {
			return outside
		}
		return waiting
	}
	return orphaned
}

// listener finds the listener of the tree that connections to an address are
// made to.
func (s *tcpSurvey) listener(at netip.AddrPort) *tcpEnd {
	var found *tcpEnd
	for _, e := range s.doors {
		if e.entry.local.Port() != at.Port() {
			continue
		}
		if e.entry.local == at {
			return e
		}
		if e.entry.local.Addr().IsUnspecified() {
			found = e
		}
	}
	return found
}

// capture makes the record. All sockets are known by now.
func (s *tcpSurvey) capture(d *fdstate.Desc, _ *fdstate.Survey) (fdstate.Record, error) {
	if err := s.look(); err != nil {
		return nil, err
	}
	fd, err := d.Copy()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := s.checkNamespace(fd); err != nil {
		return nil, err
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	e := s.ends[uint32(d.Stat.Ino)]
	rec := &TCP{ID: id(d), Domain: d.Socket.Domain, MPTCP: d.Socket.Protocol == unix.IPPROTO_MPTCP, State: tcpClose}
	if e.entry != nil {
		rec.State, rec.Shutdown = e.entry.state, e.entry.shutdown
	}
	if rec.Local, err = addrPort(unix.Getsockname(fd)); err != nil {
		return nil, fmt.Errorf("getsockname: %w", err)
	}
	if rec.Peer, err = addrPort(unix.Getpeername(fd)); err != nil {
		return nil, fmt.Errorf("getpeername: %w", err)
	}
	switch {
	case rec.State == tcpListen:
		rec.Listen = s.listen(e)
	case rec.State == tcpClose:
		err = s.captureClosed(rec, e, fd)
	default:
		err = s.captureConnection(rec, e, fd)
	}
	if err != nil {
		return nil, err
	}
	return rec, s.readTCPOptions(rec, fd)
}

// checkNamespace refuses sockets that we cannot ask about.
func (s *tcpSurvey) checkNamespace(fd int) error {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return fmt.Errorf("getsockopt SO_NETNS_COOKIE: %w", err)
	}
	if cookie == s.cookie {
		return nil
	}
	return refuseAs(fd, "it is in another network namespace", "take the snapshot in that namespace (nsenter --net --target PID)")
}

// refuseAs refuses a socket by its description.
func refuseAs(fd int, why, hint string) error {
	sock, err := describe(fd)
	if err != nil {
		return err
	}
	return fdstate.Refuse(sock.String()+": "+why, hint)
}

// captureClosed records a socket that is new, bound, or was one end of a
// connection that is over.
func (s *tcpSurvey) captureClosed(rec *TCP, e *tcpEnd, fd int) error {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	switch {
	case rec.MPTCP && errors.Is(err, unix.EOPNOTSUPP):
	case err != nil:
		return fmt.Errorf("getsockopt TCP_INFO: %w", err)
	case TCPState(info.State) != tcpClose:
		return fdstate.RefuseNow(fmt.Sprintf("it is in state %v, and not in the kernel's list", TCPState(info.State)))
	}
	ready, err := fdstate.Poll(fd, unix.POLLIN|unix.POLLRDHUP)
	switch {
	case err != nil:
		return err
	case ready&unix.POLLERR != 0:
		// To read it is to clear it, and nothing can set it again.
		return fdstate.RefuseNow("an error waits to be read from it")
	case ready&unix.POLLRDHUP == 0:
		return nil // it was never connected
	}
	rec.Shutdown = shutRead | shutWrite
	return s.readQueue(rec, e, fd)
}

// captureConnection records one end of a connection.
func (s *tcpSurvey) captureConnection(rec *TCP, e *tcpEnd, fd int) error {
	if rec.MPTCP {
		return refuseAs(fd, "connections of MPTCP cannot be captured", "have the program use plain TCP (Go: GODEBUG=multipathtcp=0)")
	}
	leads := s.origin(e)
	if !rec.connected() && !(leads == outside && rec.State.in(tcpFinWait1, tcpClosing, tcpLastAck)) {
		return fdstate.RefuseNow(fmt.Sprintf("the connection is in state %v, on its way to another", rec.State))
	}
	switch leads {
	case outside:
		return s.captureOutside(rec, e, fd)
	case inTree:
		rec.Other = id(s.ends[e.other.ino].desc)
	case waiting:
		if e.other.rqueue > 0 && e.other.state != tcpCloseWait || e.other.rqueue > 1 {
			return fdstate.RefuseNow("its connection waits to be accepted, with data in it")
		}
		rec.Waits = s.place(e)
	}
	if err := refuseUnderWay(e, fd); err != nil {
		return err
	}
	return s.readQueue(rec, e, fd)
}

// place tells which of the connections that wait to be accepted this is. The
// kernel tells when data was last sent: where none was, that is when the other
// end agreed to the connection (Linux net/ipv4/tcp_input.c:tcp_finish_connect,
// v6.12).
func (s *tcpSurvey) place(e *tcpEnd) int {
	if e.place > 0 {
		return e.place
	}
	type waiter struct {
		end *tcpEnd
		age uint32
	}
	var list []waiter
	for _, e := range s.list {
		if e.entry == nil || !e.entry.state.in(tcpEstablished, tcpFinWait2) || s.origin(e) != waiting {
			continue
		}
		w := waiter{end: e}
		if fd, err := e.desc.Copy(); err == nil {
			if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				w.age = info.Last_data_sent
			}
			unix.Close(fd)
		}
		list = append(list, w)
	}
	slices.SortStableFunc(list, func(a, b waiter) int { return int(b.age) - int(a.age) })
	for i := range list {
		list[i].end.place = i + 1
	}
	return e.place
}

// listen records a backlog. Connections that wait for it are records of their
// other ends, except for those that have none any more.
func (s *tcpSurvey) listen(e *tcpEnd) *TCPListen {
	rec := &TCPListen{Backlog: int(e.entry.wqueue)}
	for _, w := range s.table.lone {
		if w.state != tcpCloseWait || s.listener(w.local) != e {
			continue
		}
		other := s.table.byKey[tcpKey{w.local, w.peer}.swap()]
		if other == nil || other.ino == 0 {
			rec.Closed = append(rec.Closed, TCPClosed{From: w.peer, To: w.local})
		}
	}
	return rec
}

// addrPort makes an address of what getsockname(2) and getpeername(2) give.
func addrPort(sa unix.Sockaddr, err error) (netip.AddrPort, error) {
	switch {
	case errors.Is(err, unix.ENOTCONN):
		return netip.AddrPort{}, nil
	case err != nil:
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			a = a.WithZone(zoneName(int(sa.ZoneId)))
		}
		return netip.AddrPortFrom(a, uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("an address of type %T", sa)
}

// zoneName is the name of the interface that an address belongs to.
func zoneName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return strconv.Itoa(index)
}
