package netstate

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/translate"
)

var moves = translate.Values{
	Paths:     map[string]string{"/run/old": "/run/new", "/run/far": "/" + strings.Repeat("x", 120)},
	Addresses: map[string]string{"10.0.0.1": "10.0.0.2", "10.0.0.1:80": "10.0.0.3:8080", "fe80::1": "fe80::2", "@old": "@new"},
}

// TestTranslateTCP: inside the tree both ends have the new addresses; to whom
// has moved outside a connection is made anew, but not to a caller.
func TestTranslateTCP(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, test := range []struct {
		rec                  TCP
		connect, local, peer string
	}{
		{TCP{Local: at("10.0.0.1:80")}, "", "10.0.0.3:8080", "invalid AddrPort"},
		{TCP{Local: at("10.0.0.1:5"), Peer: at("10.0.0.1:80"), Other: 7}, "", "10.0.0.2:5", "10.0.0.3:8080"},
		{TCP{Local: at("192.0.2.1:5"), Peer: at("10.0.0.1:80"), Outside: true}, "10.0.0.3:8080", "192.0.2.1:5", "10.0.0.1:80"},
		{TCP{Local: at("10.0.0.1:80"), Peer: at("10.0.0.1:9"), Outside: true, Accepted: true}, "", "10.0.0.3:8080", "10.0.0.1:9"},
		{TCP{Local: at("192.0.2.1:5"), Peer: at("192.0.2.2:5"), Outside: true}, "", "192.0.2.1:5", "192.0.2.2:5"},
	} {
		rec := test.rec
		connect, err := rec.Translate(&moves)
		if err != nil || connect != test.connect || rec.Local.String() != test.local || rec.Peer.String() != test.peer {
			t.Errorf("%+v: %q %v %v %v", test, connect, rec.Local, rec.Peer, err)
		}
	}
}

func TestTranslateDatagrams(t *testing.T) {
	at := func(s string) Addr {
		end := netip.MustParseAddrPort(s)
		if end.Addr().Is4() {
			return inetAddr(unix.AF_INET, end)
		}
		return inetAddr(unix.AF_INET6, end)
	}
	scoped := at("[fe80::1]:7")
	scoped[24] = 3
	rec := Datagram{Local: at("10.0.0.1:80"), Peer: scoped, Queue: []Packet{{From: at("10.0.0.1:9"), To: []byte{10, 0, 0, 1}}, {From: at("10.9.9.9:9")}}}
	if _, err := rec.Translate(&moves); err != nil {
		t.Fatal(err)
	}
	if rec.Local.String() != "10.0.0.3:8080" || rec.Peer.String() != "[fe80::2]:7" || rec.Peer.scope() != 3 {
		t.Errorf("%v %v scope %d", rec.Local, rec.Peer, rec.Peer.scope())
	}
	if q := rec.Queue; q[0].From.String() != "10.0.0.2:9" || string(q[0].To) != "\x0a\x00\x00\x02" || q[1].From.String() != "10.9.9.9:9" || q[1].To != nil {
		t.Errorf("%+v", q)
	}
}

func TestTranslateUnix(t *testing.T) {
	name := func(s string) *UnixName { return &UnixName{Path: []byte(s), File: &Bound{}} }
	for _, test := range []struct {
		rec           Unix
		connect, want string
	}{
		{Unix{Name: name("/run/old/s")}, "", "/run/new/s"},
		{Unix{Name: name("s")}, "", "s"},
		{Unix{Name: name("\x00old")}, "", "\x00new"},
		{Unix{Name: name("/x"), Gone: &Gone{Name: []byte("/run/old/s"), Outside: true}}, "/run/new/s", "/x"},
		{Unix{Name: name("/x"), Gone: &Gone{Name: []byte("/run/old/s")}}, "", "/x"},
		{Unix{Name: name("/x"), Gone: &Gone{Name: []byte("\x00old"), Outside: true}}, "@new", "/x"},
	} {
		rec := test.rec
		connect, err := rec.Translate(&moves)
		if err != nil || connect != test.connect || string(rec.Name.Path) != test.want {
			t.Errorf("%+v: %q %q %v", test, connect, rec.Name.Path, err)
		}
	}
	long := Unix{Name: name("/run/far/s")}
	var host *HostError
	if _, err := long.Translate(&moves); !errors.As(err, &host) {
		t.Errorf("a long name: %v", err)
	}
}

func TestTranslateNamespace(t *testing.T) {
	n := &Namespace{Links: []Link{{Name: "eth0", Addrs: []string{"10.0.0.1/24", "192.0.2.1/32", "fe80::1/64"}}}}
	n.Translate(&moves)
	if got := strings.Join(n.Links[0].Addrs, " "); got != "10.0.0.2/24 192.0.2.1/32 fe80::2/64" {
		t.Error(got)
	}
	(*Namespace)(nil).Translate(&moves)
}
