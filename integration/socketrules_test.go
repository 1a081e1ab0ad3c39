package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestSocketRules: what policy files say about sockets.
func TestSocketRules(t *testing.T) {
	forUsers(t, func(p *place) {
		first, second := newServer(p.t), newServer(p.t)
		old, path, newPath := first.listen("tcp", "127.0.0.1:0"), p.path("work/one"), p.path("work/two")
		first.listen("unix", path)
		prog := one("callers").with("tcp:"+old, "unix:"+path)
		j := p.start(prog)
		before := j.settle()
		rules := func(text string, args ...any) string {
			file := p.path("work/rules")
			must(p.t, os.WriteFile(file, fmt.Appendf(nil, text, args...), 0o644))
			return "--policy=" + file
		}
		p.fails(3, "a rule says so", "checkpoint", j.pid(), "--image", p.path("no"), rules("fail peer=127.0.0.0/8:%s direction=out\n", portOf(p.t, old)))
		p.checkpoint(j.pid(), p.path("image"), "--stop", rules("fail direction=in\nfail peer=10.0.0.0/8\nkeep kind=unix-socket\n"))
		j.gone()
		p.fails(5, "cannot be kept", "restart", p.path("image"), rules("keep kind=unix-socket\n"))
		p.fails(5, "a rule says fail", "restart", p.path("image"), rules("fail peer=%s\n", path))
		restart := func(policy string) *job {
			again := p.restart(prog, p.path("image"), policy)
			again.like(before)
			return again
		}
		restart(rules("hangup peer=127.0.0.1\nhangup peer=/**/one\nreset all\n")).fates("closed", "-", 1)
		restart(rules("reset all\n")).fates("reset", "-", 2)
		made := first.count()
		to := second.listen("tcp", "127.0.0.1:0")
		second.listen("unix", newPath)
		restart(rules("connect peer=*:%s to=%s\nconnect kind=unix-socket to=%s\n", portOf(p.t, old), to, newPath)).fates("alive", "-", 3)
		if first.count() != made || second.count() != 2 {
			p.t.Errorf("%d and %d connections", first.count()-made, second.count())
		}
	})
}

// TestBindRule moves a server to another port.
func TestBindRule(t *testing.T) {
	forUsers(t, func(p *place) {
		from, to := freePort(p.t), freePort(p.t)
		prog := counter(from)
		j := p.start(prog)
		before := j.settle()
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		file := p.path("work/rules")
		must(p.t, os.WriteFile(file, fmt.Appendf(nil, "bind local=*:%d direction=listen to=127.0.0.1:%d\n", from, to), 0o644))
		j = p.restart(prog, p.path("image"), "--policy="+file)
		j.like(before)
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(to), 5*time.Second)
		must(p.t, err)
		defer c.Close()
		must(p.t, c.SetDeadline(time.Now().Add(20*time.Second)))
		if got, err := io.ReadAll(c); string(got) != "1\n" {
			p.t.Errorf("the server says %q (%v)", got, err)
		}
		if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(from)); err == nil {
			c.Close()
			p.t.Error("somebody serves the old port")
		}
		j.finish(1)
	})
}

func portOf(t testing.TB, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	return port
}
