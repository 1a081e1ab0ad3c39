package netstate

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// socket is what names a socket to a user.
type socket struct {
	domain, typ, protocol int
	state                 string // "", LISTEN, ESTABLISHED...
	local, peer           string // "" if there is none
}

// describe looks at a socket through a copy of its descriptor.
func describe(fd int) (s socket, err error) {
	for _, opt := range []struct {
		name int
		to   *int
	}{{unix.SO_DOMAIN, &s.domain}, {unix.SO_TYPE, &s.typ}, {unix.SO_PROTOCOL, &s.protocol}} {
		if *opt.to, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt.name); err != nil {
			return s, fmt.Errorf("getsockopt: %w", err)
		}
	}
	if s.local, err = address(unix.Getsockname(fd)); err != nil {
		return s, fmt.Errorf("getsockname: %w", err)
	}
	if s.peer, err = address(unix.Getpeername(fd)); err != nil {
		return s, fmt.Errorf("getpeername: %w", err)
	}
	s.state, err = s.readState(fd)
	return s, err
}

// address prints an address. A family that x/sys does not know, or a socket
// without an address, gives "".
func address(sa unix.Sockaddr, err error) (string, error) {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return "", nil
	case err != nil:
		return "", err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String(), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String(), nil
	case *unix.SockaddrUnix:
		if sa.Name == "@" { // x/sys prints a socket without a name so
			return "", nil
		}
		return sa.Name, nil
	case *unix.SockaddrVM:
		return fmt.Sprintf("%d:%d", sa.CID, sa.Port), nil
	}
	return "", nil
}

// tcpStates are the states of TCP (Linux include/net/tcp_states.h).
var tcpStates = [...]string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
	"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"}

func (s *socket) readState(fd int) (string, error) {
	if s.protocol == unix.IPPROTO_TCP && (s.domain == unix.AF_INET || s.domain == unix.AF_INET6) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return "", fmt.Errorf("getsockopt TCP_INFO: %w", err)
		}
		if int(info.State) < len(tcpStates) {
			return tcpStates[info.State], nil
		}
		return fmt.Sprintf("state %d", info.State), nil
	}
	// Families without the option give an error; they do not listen either.
	if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens != 0 {
		return "LISTEN", nil
	}
	return "", nil
}

var domains = map[int]string{unix.AF_UNIX: "unix", unix.AF_INET: "ipv4", unix.AF_INET6: "ipv6",
	unix.AF_NETLINK: "netlink", unix.AF_PACKET: "packet", unix.AF_VSOCK: "vsock", unix.AF_ALG: "alg",
	unix.AF_XDP: "xdp", unix.AF_BLUETOOTH: "bluetooth", unix.AF_RDS: "rds", unix.AF_CAN: "can", unix.AF_TIPC: "tipc", unix.AF_SMC: "smc"}

var types = map[int]string{unix.SOCK_STREAM: "stream", unix.SOCK_DGRAM: "datagram", unix.SOCK_SEQPACKET: "seqpacket",
	unix.SOCK_RAW: "raw"}

var protocols = map[int]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMP: "icmp",
	unix.IPPROTO_SCTP: "sctp", unix.IPPROTO_MPTCP: "mptcp",
	unix.IPPROTO_DCCP: "dccp", unix.IPPROTO_UDPLITE: "udp-lite"}

// kind is "ipv4 tcp socket", "unix stream socket", "netlink raw socket (protocol 15)".
func (s *socket) kind() string {
	ip := s.domain == unix.AF_INET || s.domain == unix.AF_INET6
	if name, ok := protocols[s.protocol]; ok && ip {
		return named(domains, s.domain, "family") + " " + name + " socket"
	}
	text := named(domains, s.domain, "family") + " " + named(types, s.typ, "type") + " socket"
	if s.protocol != 0 {
		text += fmt.Sprintf(" (protocol %d)", s.protocol)
	}
	return text
}

func named(names map[int]string, value int, what string) string {
	if name, ok := names[value]; ok {
		return name
	}
	return fmt.Sprintf("%s %d", what, value)
}

// String is "ipv4 tcp socket, 10.0.0.1:5000 to 10.0.0.2:80, ESTABLISHED".
func (s *socket) String() string {
	parts := []string{s.kind()}
	switch {
	case s.local != "" && s.peer != "":
		parts = append(parts, s.local+" to "+s.peer)
	case s.local != "":
		parts = append(parts, "at "+s.local)
	case s.peer != "":
		parts = append(parts, "to "+s.peer)
	}
	if s.state != "" {
		parts = append(parts, s.state)
	}
	return strings.Join(parts, ", ")
}

// hint tells what the user can do about it.
func (s *socket) hint() string {
	switch s.state {
	case "LISTEN":
		return "a server can be snapshotted before it listens"
	case "SYN_SENT", "SYN_RECV":
		return "the connection is still being opened"
	}
	return "close it, or take the snapshot before it is opened"
}
