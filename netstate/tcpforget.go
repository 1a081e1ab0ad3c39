package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// forgetTime is how long the kernel remembers a connection that has ended, and
// may keep its port for it (Linux include/net/tcp.h:TCP_TIMEWAIT_LEN, v6.18).
const forgetTime = 60 * time.Second

// patiently takes the port of an address, and waits for one that is in use only
// because connections of a tree that has just ended are not forgotten yet.
func (n *tcpNet) patiently(at netip.AddrPort, take func() error) error {
	const moment = 100 * time.Millisecond
	for limit := time.Now().Add(forgetTime + connectPatience); ; time.Sleep(moment) {
		err := take()
		if !errors.Is(err, unix.EADDRINUSE) || time.Now().After(limit) {
			return err
		}
		if found, failed := n.remembered(); !found || failed != nil {
			var taken *HostError
			if errors.As(err, &taken) {
				taken.Why += occupant(n.o.Proc, unix.IPPROTO_TCP, at)
			}
			return errors.Join(err, failed)
		}
	}
}

// remembered tells whether the kernel remembered connections from ports that
// the tree is to have. An administrator has it forget them: what they are
// remembered for, segments that come late, does not happen on one host. Those
// that are about to end are left alone.
func (n *tcpNet) remembered() (found bool, err error) {
	diag, err := netlinkOf(n.o.Proc.PID, unix.NETLINK_SOCK_DIAG, held(n.o.Proc))
	if err != nil {
		return false, err
	}
	defer unix.Close(diag)
	wanted := n.places()
	var left []nlRequest
	const states = 1<<tcpTimeWait | 1<<tcpFinWait1 | 1<<tcpFinWait2 | 1<<tcpLastAck | 1<<tcpClosing
	for _, domain := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := inetDiagRequest(domain, unix.IPPROTO_TCP, states).ask(diag, func(b []byte) error {
			e, err := parseInetDiag(b)
			if err != nil || e.ino != 0 || !wanted.has(e) {
				return err
			}
			found = true
			if e.state == tcpTimeWait {
				left = append(left, destroyRequest(b))
			}
			return nil
		})
		if err != nil {
			return false, fmt.Errorf("ask for TCP connections that have ended: %w", err)
		}
	}
	for _, destroy := range left {
		switch err := destroy.change(diag); {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EOPNOTSUPP):
		case err != nil && !errors.Is(err, unix.ENOENT):
			return false, fmt.Errorf("forget a TCP connection: %w", err)
		}
	}
	return found, nil
}

// places are addresses and ports that the tree has.
type places map[netip.AddrPort]bool

// places gives those of its sockets; any address is that of no family.
func (n *tcpNet) places() places {
	p := places{}
	for _, s := range n.socks {
		at := plain(s.rec.Local)
		if at.Addr().IsUnspecified() {
			at = netip.AddrPortFrom(netip.Addr{}, at.Port())
		}
		p[at] = true
	}
	return p
}

// has tells whether the tree has a socket at the place of an ended connection's.
func (p places) has(e *tcpEntry) bool {
	return p[e.local] || p[netip.AddrPortFrom(netip.Addr{}, e.local.Port())]
}

// destroyRequest asks to abort the socket of a struct inet_diag_msg, and no
// other: its cookie is in it (Linux net/ipv4/inet_diag.c:inet_diag_find_one_icsk,
// v6.12). It takes CAP_NET_ADMIN, and CONFIG_INET_DIAG_DESTROY.
func destroyRequest(msg []byte) nlRequest {
	const (
		destroy = 21 // SOCK_DESTROY
		id      = 4  // where struct inet_diag_sockid begins
		idSize  = 48
	)
	b := binary.LittleEndian.AppendUint32([]byte{msg[0], unix.IPPROTO_TCP, 0, 0}, 1<<tcpTimeWait)
	return newRequest(destroy, unix.NLM_F_ACK, append(b, msg[id:id+idSize]...))
}
