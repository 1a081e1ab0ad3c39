package netstate

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

var sampleTCP = TCP{ID: 3, Domain: unix.AF_INET6, MPTCP: true, State: tcpListen, Local: netip.MustParseAddrPort("[fe80::1%lo]:80"),
	Listen: &TCPListen{Backlog: 7, Closed: []TCPClosed{{From: netip.MustParseAddrPort("127.0.0.1:9"), To: netip.MustParseAddrPort("127.0.0.2:80")}}},
	Queue:  []byte("queue"), Waits: 1, Shutdown: 3,
	Options: []Option{{Level: unix.IPPROTO_TCP, Name: unix.TCP_NODELAY, Value: []byte{1, 0, 0, 0}}}, Buffers: Buffers{Send: 4608, Locks: 1}}

// TestTCPRecord writes and reads a record, and refuses what would send the
// restore side astray.
func TestTCPRecord(t *testing.T) {
	state := fdstate.State{Files: []fdstate.File{{Tag: 220, Link: "socket:[1]", Data: must(cbor.Marshal(&sampleTCP))}}, Tables: []fdstate.Table{{{Num: 3}}}}
	records, err := state.Records(WithFiles())
	if err != nil {
		t.Fatal(err)
	}
	got := *records[0].(*TCP)
	if got.net = nil; !reflect.DeepEqual(got, sampleTCP) {
		t.Errorf("got %+v", got)
	}
	for want, change := range map[string]func(*TCP){
		"not a TCP socket":           func(r *TCP) { r.Domain = unix.AF_UNIX },
		"that can be made: state 13": func(r *TCP) { r.State = 13 },
		"can be made: ESTABLISHED":   func(r *TCP) { r.State = tcpEstablished },
		"can be made: SYN_SENT":      func(r *TCP) { r.State, r.Listen = tcpSynSent, nil },
		"without its addresses":      func(r *TCP) { r.Local = netip.AddrPort{} },
		"another family":             func(r *TCP) { r.Peer = netip.MustParseAddrPort("127.0.0.1:9") },
		"no socket option 9999":      func(r *TCP) { r.Options = []Option{{Name: 9999, Value: []byte{1}}} },
	} {
		bad := sampleTCP
		change(&bad)
		state.Files[0].Data = must(cbor.Marshal(&bad))
		if _, err := state.Records(WithFiles()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestTCPTable asks the kernel about sockets of ours.
func TestTCPTable(t *testing.T) {
	ino := func(fd int) uint32 {
		var st unix.Stat_t
		check(unix.Fstat(fd, &st))
		return uint32(st.Ino)
	}
	listener := socketOf(t, unix.AF_INET6, unix.SOCK_STREAM, 0)
	check(unix.Bind(listener, &unix.SockaddrInet6{Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}))
	check(unix.Listen(listener, 12))
	at := must(addrPort(unix.Getsockname(listener)))
	client := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	check(unix.Connect(client, sockaddrOf(unix.AF_INET, at)))
	must(unix.Write(client, []byte("seven77")))
	check(unix.Shutdown(client, unix.SHUT_WR))

	diag := must(ownNetlink(unix.NETLINK_SOCK_DIAG))
	defer unix.Close(diag)
	table := must(readTCPTable(diag))
	l, c := table.byIno[ino(listener)], table.byIno[ino(client)]
	if l == nil || l.state != tcpListen || l.rqueue != 1 || l.wqueue != 12 || l.local != plain(at) {
		t.Fatalf("listener: %+v", l)
	}
	if c == nil || !c.state.in(tcpFinWait1, tcpFinWait2) || c.shutdown != shutWrite || c.peer != l.local {
		t.Fatalf("client: %+v", c)
	}
	// The other end waits to be accepted: 7 bytes and the end.
	if s := table.byKey[tcpKey{c.local, c.peer}.swap()]; s == nil || s.ino != 0 || s.state != tcpCloseWait || s.rqueue != 8 {
		t.Errorf("other end: %+v", s)
	}
}

// TestInetDiag gives the parser what is no answer.
func TestInetDiag(t *testing.T) {
	if _, err := parseInetDiag(make([]byte, 71)); err == nil {
		t.Error("too short: no error")
	}
	for _, tail := range [][]byte{{3, 0, 8, 0}, {9, 0, 8, 0, 1}} {
		if _, err := parseInetDiag(append(make([]byte, 72), tail...)); err == nil {
			t.Errorf("attribute % x: no error", tail)
		}
	}
}

// TestTCPKey: an end of IPv6 names the same connection as the one of IPv4.
func TestTCPKey(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[::ffff:127.0.0.2]:2")
	if got := key(a, b).swap(); got != (tcpKey{netip.MustParseAddrPort("127.0.0.2:2"), a}) {
		t.Errorf("got %v", got)
	}
}
