package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestKeptPeerVanished: the other end of a connection that is kept goes away
// before the restart. The program is told so, as if it had seen it itself.
func TestKeptPeerVanished(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can keep connections (TCP_REPAIR)")
	}
	p := newPlace(t, root)
	s, j := p.caller()
	before := j.settle()
	p.checkpoint(j.pid(), p.path("image"), "--stop", "--tcp=keep")
	j.gone()
	s.stop()
	j = p.restart(j.prog, p.path("image"), "--tcp=keep")
	j.like(before)
	time.Sleep(time.Second) // the end is sent again until it is acknowledged
	j.fates("closed", "-", 1)
	if rules := ourRules(t); rules != "" {
		t.Errorf("left in the firewall: %s", rules)
	}
}

// TestAddressGone: servers of TCP and UDP at an address that this host no longer
// has are refused, with a hint, and come back when it is there again.
func TestAddressGone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a host addresses")
	}
	p := newPlace(t, root)
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	address := fmt.Sprintf("10.213.%d.%d", 8+(os.Getpid()>>7)%200, 1+os.Getpid()%128)
	change := func(how string) { ip("address", how, address+"/32", "dev", "lo") }
	change("add")
	t.Cleanup(func() { change("del") })
	port := strconv.Itoa(freePort(t))
	at := net.JoinHostPort(address, port)
	for _, protocol := range []string{"tcp", "udp"} {
		must(t, os.RemoveAll(p.goFile()))
		must(t, os.RemoveAll(p.logFile()))
		prog := program{name: protocol, argv: script("/usr/bin/python3", "py/serves.py"), args: []string{protocol, address, port}, how: rootOnly}
		j := p.start(prog)
		before := j.settle()
		image := p.path(protocol)
		p.checkpoint(j.pid(), image, "--stop")
		j.gone()
		change("del")
		got := p.supervise(nil, "restart", image)
		if got.code != 5 || !strings.Contains(got.err, at) || !strings.Contains(got.err, "hint: add it to an interface") {
			t.Errorf("%s: exit code %d: %s", protocol, got.code, got.err)
		}
		private := p.restart(prog, image, "--net=private") // has the address
		private.like(before)
		private.killTree()
		private.close()
		change("add")
		j = p.restart(prog, image)
		j.like(before)
		c, err := net.Dial(protocol, at)
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		fmt.Fprint(c, "there")
		buf := make([]byte, 10)
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "there" {
			t.Errorf("%s: the server says %q (%v)", protocol, buf[:n], err)
		}
		c.Close()
		j.finish(1)
	}
}
