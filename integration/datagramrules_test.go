package integration

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestDatagramRules: a restart moves a UDP server to another port, and what talks to
// somebody outside to somebody else. Who is in the tree follows the server.
func TestDatagramRules(t *testing.T) {
	forUsers(t, func(p *place) {
		hears := func(c net.PacketConn) {
			p.t.Helper()
			senders := map[string]bool{}
			for end := time.Now().Add(20 * time.Second); len(senders) < 2; {
				must(p.t, c.SetReadDeadline(end))
				_, from, err := c.ReadFrom(make([]byte, 100))
				must(p.t, err)
				senders[from.String()] = true
			}
		}
		listen := func() net.PacketConn {
			c, err := net.ListenPacket("udp4", "127.0.0.1:0")
			must(p.t, err)
			p.t.Cleanup(func() { c.Close() })
			return c
		}
		first, second := listen(), listen()
		free := listen()
		from := free.LocalAddr().String()
		must(p.t, free.Close())
		free = listen()
		to := free.LocalAddr().String()
		must(p.t, free.Close())
		prog := program{name: "datagrams", argv: script("/usr/bin/python3", "py/datagrams.py"), args: []string{portOf(p.t, from), first.LocalAddr().String()}, how: rootOnly}
		j := p.start(prog)
		hears(first)
		rules := func(text string) string {
			file := p.path("work/rules")
			must(p.t, os.WriteFile(file, []byte(text), 0o644))
			return "--policy=" + file
		}
		moved := rules(fmt.Sprintf("bind local=%s to=%s\nconnect peer=%s to=%s\n", from, to, first.LocalAddr(), second.LocalAddr()))
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		j = p.restart(prog, p.path("image"), moved)
		hears(second)
		c, err := net.Dial("udp", to)
		must(p.t, err)
		defer c.Close()
		must(p.t, c.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = c.Write([]byte("moved"))
		must(p.t, err)
		buf := make([]byte, 100)
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "moved" {
			p.t.Errorf("the moved server says %q (%v)", buf[:n], err)
		}
		n, _ := strconv.Atoi(portOf(p.t, from))
		taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n})
		if err != nil {
			p.t.Errorf("somebody has the old port: %v", err)
		} else {
			p.fails(5, "another program uses the address "+from+" (", "restart", p.path("image"), rules("reopen all\n"))
			taken.Close()
		}
		p.fails(5, "is no address for a socket of IPv4", "restart", p.path("image"), rules("bind local="+from+" to=[::1]:"+portOf(p.t, to)+"\n"))
		j.finish(1)
		must(p.t, os.Remove(p.goFile()))
		j = p.restart(prog, p.path("image"), rules("connect peer=127.0.0.1:"+portOf(p.t, from)+" to="+second.LocalAddr().String()+"\nconnect local=127.0.0.1\n"))
		hears(first) // who is in the tree stays, and so does what nobody says an address for
		j.finish(2)
	})
}
