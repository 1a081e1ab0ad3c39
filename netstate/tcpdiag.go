package netstate

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// tcpEntry is what sock_diag tells about a TCP socket (Linux
// net/ipv4/inet_diag.c:inet_sk_diag_fill, v6.12).
type tcpEntry struct {
	state       TCPState
	local, peer netip.AddrPort // as key has them
	rqueue      uint32         // bytes to be read and the end; of a listener, the connections that wait
	wqueue      uint32         // bytes not acknowledged and the end; of a listener, how many may wait
	ino         uint32         // 0 when no process has it: not accepted yet, or closed
	uid         uint32         // its owner
	shutdown    uint8
}

// tcpKey is the name of a connection, from one end.
type tcpKey struct{ local, peer netip.AddrPort }

// key names the connection of a socket with these addresses. Addresses of
// IPv4 that a socket of IPv6 shows are those of IPv4, and scopes are left out.
func key(local, peer netip.AddrPort) tcpKey { return tcpKey{plain(local), plain(peer)} }

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// swap names the connection from the other end.
func (k tcpKey) swap() tcpKey { return tcpKey{k.peer, k.local} }

// tcpTable is all TCP sockets of a network namespace that are in its hash
// tables: not those in state CLOSE.
type tcpTable struct {
	byIno map[uint32]*tcpEntry
	byKey map[tcpKey]*tcpEntry
	lone  []*tcpEntry // no process has them
	ours  map[netip.Addr]bool
}

// readTCPTable asks through a socket of NETLINK_SOCK_DIAG, in whose network
// namespace the sockets are.
func readTCPTable(diag int) (*tcpTable, error) {
	t := &tcpTable{byIno: map[uint32]*tcpEntry{}, byKey: map[tcpKey]*tcpEntry{}, ours: map[netip.Addr]bool{}}
	for _, domain := range []uint8{unix.AF_INET, unix.AF_INET6} {
		const states = 1<<13 - 1&^(1<<tcpTimeWait)
		err := inetDiagRequest(domain, unix.IPPROTO_TCP, states).ask(diag, func(b []byte) error {
			e, err := parseInetDiag(b)
			if err == nil {
				t.add(e)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("ask for TCP sockets: %w", err)
		}
	}
	return t, nil
}

func (t *tcpTable) add(e *tcpEntry) {
	if e.ino != 0 {
		t.byIno[e.ino] = e
	} else {
		t.lone = append(t.lone, e)
	}
	t.ours[e.local.Addr()] = true
	if e.state != tcpListen {
		t.byKey[tcpKey{e.local, e.peer}] = e
	}
}

// inetDiagRequest is a netlink message with struct inet_diag_req_v2, which asks
// for sockets of a protocol in some states.
func inetDiagRequest(domain, protocol uint8, states uint32) nlRequest {
	const (
		byFamily = 20     // SOCK_DIAG_BY_FAMILY
		shutdown = 1 << 7 // 1 << (INET_DIAG_SHUTDOWN - 1)
		id       = 48     // size of struct inet_diag_sockid: any
	)
	b := binary.LittleEndian.AppendUint32([]byte{domain, protocol, shutdown, 0}, states)
	return newRequest(byFamily, unix.NLM_F_DUMP, append(b, make([]byte, id)...))
}

// parseInetDiag reads struct inet_diag_msg and the one attribute asked for.
func parseInetDiag(b []byte) (*tcpEntry, error) {
	const head = 72
	if len(b) < head {
		return nil, errNetlink
	}
	le, be := binary.LittleEndian, binary.BigEndian
	address := func(ip []byte, port uint16) netip.AddrPort {
		if b[0] == unix.AF_INET {
			ip = ip[:4]
		}
		a, _ := netip.AddrFromSlice(ip)
		return netip.AddrPortFrom(a.Unmap(), port)
	}
	e := &tcpEntry{
		state: TCPState(b[1]),
		local: address(b[8:24], be.Uint16(b[4:])), peer: address(b[24:40], be.Uint16(b[6:])),
		rqueue: le.Uint32(b[56:]), wqueue: le.Uint32(b[60:]), uid: le.Uint32(b[64:]), ino: le.Uint32(b[68:]),
	}
	const diagInetShutdown = 8 // INET_DIAG_SHUTDOWN
	return e, eachAttribute(b[head:], func(kind uint16, v []byte) error {
		if kind == diagInetShutdown && len(v) > 0 {
			e.shutdown = v[0]
		}
		return nil
	})
}
