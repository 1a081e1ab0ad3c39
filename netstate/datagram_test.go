package netstate

import (
	"bufio"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

var sampleDatagram = Datagram{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP,
	Local: inetAddr(unix.AF_INET, netip.MustParseAddrPort("127.0.0.1:53")), Peer: inetAddr(unix.AF_INET, netip.MustParseAddrPort("192.0.2.1:9")),
	Unreachable: true, Shutdown: 1, Queue: []Packet{{Data: []byte("x"), From: inetAddr(unix.AF_INET, netip.MustParseAddrPort("192.0.2.1:9")),
		To: []byte{127, 0, 0, 1}, TTL: 3, Class: 4, Segment: 5}},
	Groups: []Membership{{Interface: "lo", Group: []byte{239, 1, 2, 3}, Only: true, Sources: [][]byte{{127, 0, 0, 1}}}},
	Settings: Settings{Options: []Option{{Level: unix.IPPROTO_IP, Name: unix.IP_TTL, Value: []byte{1, 0, 0, 0}}}, Buffers: Buffers{Send: 4608},
		Filter: &Filter{Code: make([]byte, 8), Locked: true}}}

// TestDatagramRecord writes and reads a record, and refuses what would send
// the restore side astray.
func TestDatagramRecord(t *testing.T) {
	read := func(rec *Datagram) (*Datagram, error) {
		state := fdstate.State{Files: []fdstate.File{{Tag: 210, Link: "socket:[1]", Data: must(cbor.Marshal(rec))}}, Tables: []fdstate.Table{{{Num: 3}}}}
		records, err := state.Records(WithFiles())
		if err != nil {
			return nil, err
		}
		return records[0].(*Datagram), nil
	}
	got, err := read(&sampleDatagram)
	if err != nil {
		t.Fatal(err)
	}
	if got.net = nil; !reflect.DeepEqual(*got, sampleDatagram) {
		t.Errorf("got %+v", got)
	}
	for want, change := range map[string]func(*Datagram){
		"not a datagram socket":     func(d *Datagram) { d.Type = unix.SOCK_STREAM },
		"not an address of the soc": func(d *Datagram) { d.Local = d.Local[:8] },
		"0a00":                      func(d *Datagram) { d.Queue = []Packet{{From: Addr{10, 0}}} },
		"not a packet filter":       func(d *Datagram) { d.Settings.Filter = &Filter{Code: make([]byte, 9)} },
		"not an address of a multi": func(d *Datagram) { d.Groups = []Membership{{Interface: "lo", Group: []byte{1}}} },
		"not the name of an inter":  func(d *Datagram) { d.Groups = []Membership{{Group: []byte{239, 1, 2, 3}}} },
	} {
		bad := sampleDatagram
		change(&bad)
		if _, err := read(&bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestParseInetLine(t *testing.T) {
	ino, e, err := parseInetLine(" 8956: 0100007F:C3BA 020200C0:0035 01 00000300:000009C0 00:00000000 00000000     0        0 21434987 2 000000009aa0af2b 0")
	want := inetEntry{remote: netip.MustParseAddrPort("192.0.2.2:53"), connected: true, unsent: 0x300, unread: 0x9c0}
	if err != nil || ino != 21434987 || e != want {
		t.Errorf("%d %+v: %v", ino, e, err)
	}
	_, e, err = parseInetLine(" 9801: 00000000000000000000000000000000:8707 000000FD000000000000000001000000:0009 07 00000000:00000000 00:00000000 00000000     0        0 21685747 2 00 0")
	if err != nil || e.remote != netip.MustParseAddrPort("[fd00::1]:9") || e.connected {
		t.Errorf("%+v: %v", e, err)
	}
	for _, bad := range []string{"", "1: 2 3", "1: 0:0 0:0 07 0:0 0 0 0 0 1", "1: 00000000:0 00000000:0 07 x:0 0 0 0 0 1"} {
		if _, _, err := parseInetLine(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestParseGroups(t *testing.T) {
	list, err := parseIGMP(bufio.NewScanner(strings.NewReader("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n" +
		"1\tlo        :     2      V3\n\t\t\t\t030201EF     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"4\teth0      :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n")))
	want := []group{{1, "lo", netip.MustParseAddr("239.1.2.3")}, {1, "lo", netip.MustParseAddr("224.0.0.1")}, {4, "eth0", netip.MustParseAddr("224.0.0.1")}}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%v: %v", list, err)
	}
	list, err = parseIGMP6(bufio.NewScanner(strings.NewReader("4    eth0            ff020000000000000000000000000001     1 0000000C 0\n")))
	if err != nil || len(list) != 1 || list[0] != (group{4, "eth0", netip.MustParseAddr("ff02::1")}) {
		t.Errorf("%v: %v", list, err)
	}
}

// TestRawPackets sends datagrams from addresses that this host does not have.
func TestRawPackets(t *testing.T) {
	for _, c := range []struct {
		domain, protocol int
		from, at         string
		segment, times   int
	}{
		{unix.AF_INET, unix.IPPROTO_UDP, "198.51.100.7:53", "127.0.0.1:0", 0, 1},
		{unix.AF_INET6, unix.IPPROTO_UDP, "[2001:db8::7]:53", "[::1]:0", 0, 1},
		{unix.AF_INET, unix.IPPROTO_UDPLITE, "198.51.100.7:53", "127.0.0.1:0", 0, 1},
		{unix.AF_INET, unix.IPPROTO_UDP, "198.51.100.7:53", "127.0.0.1:0", 3, 2},
	} {
		raw, err := unix.Socket(c.domain, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			t.Skip("only an administrator has raw sockets: ", err)
		}
		defer unix.Close(raw)
		fd := socketOf(t, c.domain, unix.SOCK_DGRAM, c.protocol)
		check(useAddr(unix.SYS_BIND, fd, inetAddr(c.domain, netip.MustParseAddrPort(c.at))))
		check(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}))
		at, _ := must(addrOf(unix.SYS_GETSOCKNAME, fd)).inet()
		m := Packet{Data: []byte("hello"), From: inetAddr(c.domain, netip.MustParseAddrPort(c.from)), Segment: c.segment}
		s := sender{fd: raw, domain: c.domain, raw: true}
		check(s.sendRaw(c.protocol, &m, at))
		got := ""
		for range c.times {
			buf := make([]byte, 100)
			n, _, _, from, err := receive(fd, buf, nil, 0)
			if err != nil || from.String() != c.from {
				t.Fatalf("%+v: %d bytes from %s: %v", c, n, from, err)
			}
			got += string(buf[:n])
		}
		if got != "hello" {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
