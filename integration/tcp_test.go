package integration

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestTakenPort: a restart whose port another program has says so, and works
// when it is free.
func TestTakenPort(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("tcpbacklog")
		j := p.start(prog)
		j.settle()
		at := listeningAddr(p.t, j.root)
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		other, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		got := p.supervise(nil, "restart", p.path("image"))
		other.Close()
		who := fmt.Sprintf(" (%s, pid %d)", strings.TrimSpace(slurp("/proc/self/comm")), os.Getpid())
		if p.user.uid != os.Getuid() {
			who = fmt.Sprintf(" (a process of uid %d)", os.Getuid()) // whose descriptors this user may not see
		}
		if got.code != 5 || !strings.Contains(got.err, "the address "+at+" of a TCP socket is in use"+who) {
			t.Errorf("exit code %d: %s", got.code, got.err)
		}
		p.restart(prog, p.path("image")).finish(1)
	})
}

// TestManyConnections: more connections than one process may have descriptors
// for, by far, so that they are made in portions.
func TestManyConnections(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("tcpmany").with("300", "600")
		j := p.start(prog)
		before := j.settle()
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		again := p.restartBy([]string{"/usr/bin/prlimit", "--nofile=600:600"}, prog, p.path("image"), nil)
		again.like(before)
		again.finish(1)
	})
}

// listeningAddr is where a program that uses tcp.h listens: at an address that
// only it has.
func listeningAddr(t testing.TB, pid int) string {
	t.Helper()
	ip := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x7f000001|uint32(pid&0x3fffff)<<2)))
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(ip.AsSlice()))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		host, port, _ := strings.Cut(f[1], ":")
		if host == want && f[3] == "0A" { // TCP_LISTEN
			n, err := strconv.ParseUint(port, 16, 16)
			if err != nil {
				t.Fatal(err)
			}
			return netip.AddrPortFrom(ip, uint16(n)).String()
		}
	}
	t.Fatalf("nobody listens at %v", ip)
	return ""
}
