package integration

import (
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is at the other end of connections out of the tree: it says hello and
// sends back what it gets.
type server struct {
	t testing.TB

	mu    sync.Mutex
	conns []net.Conn
	heard int // datagrams
	wg    sync.WaitGroup
	close []io.Closer
}

func newServer(t testing.TB) *server {
	s := &server{t: t}
	t.Cleanup(s.stop)
	return s
}

// stop closes everything.
func (s *server) stop() {
	s.mu.Lock()
	for _, c := range s.close {
		c.Close()
	}
	for _, c := range s.conns {
		c.Close()
	}
	s.close, s.conns = nil, nil
	s.mu.Unlock()
	s.wg.Wait()
}

// listen serves streams, or packets.
func (s *server) listen(network, address string) string {
	s.t.Helper()
	l, err := net.Listen(network, address)
	must(s.t, err)
	s.open(address)
	s.close = append(s.close, l)
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() { echo(c) })
		}
	})
	return l.Addr().String()
}

// open lets everybody connect to a path.
func (s *server) open(address string) {
	if strings.HasPrefix(address, "/") {
		must(s.t, os.Chmod(address, 0o777))
	}
}

func echo(c net.Conn) {
	if _, err := c.Write([]byte("hello")); err != nil {
		return
	}
	for buf := make([]byte, 64<<10); ; {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// receive counts datagrams.
func (s *server) receive(address string) {
	s.t.Helper()
	c, err := net.ListenPacket("unixgram", address)
	must(s.t, err)
	s.open(address)
	s.close = append(s.close, c)
	s.wg.Go(func() {
		for buf := make([]byte, 64); ; {
			if _, _, err := c.ReadFrom(buf); err != nil {
				return
			}
			s.mu.Lock()
			s.heard++
			s.mu.Unlock()
		}
	})
}

// hears waits for datagrams.
func (s *server) hears(n int) {
	s.t.Helper()
	wait(s.t, "datagrams", 5*time.Second, func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.heard != n {
			return "not as many"
		}
		return ""
	})
}

// fates lets a program check what has become of its connections.
func (j *job) fates(streams, datagrams string, n int) {
	j.t.Helper()
	must(j.t, os.WriteFile(j.p.goFile(), []byte(streams+" "+datagrams+"\n"), 0o644))
	j.says("ok", n)
	j.ended()
	must(j.t, os.Remove(j.p.goFile()))
}

// TestTCPOutside: the same by TCP, over addresses of both kinds.
func TestTCPOutside(t *testing.T) {
	forUsers(t, func(p *place) {
		s := newServer(p.t)
		prog := one("callers").with("tcp:"+s.listen("tcp", "127.0.0.1:0"), "tcp:"+strings.NewReplacer("[", "", "]", "").Replace(s.listen("tcp", "[::1]:0")))
		j := p.start(prog)
		before := j.settle()
		p.checkpoint(j.pid(), p.path("image"))
		j.undisturbed(before)
		j.fates("alive", "-", 1)
		for n, c := range []struct{ streams, flag string }{
			{"reset", "--tcp=reset"}, {"closed", "--tcp=close"}, {"alive", "--tcp=connect"}, {"reset", "--net=private"},
		} {
			p.restart(prog, p.path("image"), c.flag).fates(c.streams, "-", n+2)
		}
		s.stop()
		p.restart(prog, p.path("image")).fates("reset", "-", 6)
		got := p.supervise(nil, "restart", p.path("image"), "--tcp=connect")
		if got.code != 5 || !strings.Contains(got.err, "cannot connect to 127.0.0.1") && !strings.Contains(got.err, "cannot connect to [::1]") {
			t.Errorf("nobody to connect to: exit code %d: %s", got.code, got.err)
		}
	})
}

// TestUnixOutside: connections to a server outside the tree go on after a
// snapshot, and end at a restart in the way that was asked for.
func TestUnixOutside(t *testing.T) {
	forUsers(t, func(p *place) {
		s := newServer(p.t)
		at := func(name string) string { return p.path("work/" + name) }
		abstract := "@" + p.dir
		s.listen("unix", at("stream"))
		s.listen("unixpacket", at("packets"))
		s.listen("unix", abstract)
		s.receive(at("datagrams"))
		prog := one("callers").with("unix:"+at("stream"), "packets:"+at("packets"), "unix:"+abstract, "datagrams:"+at("datagrams"))
		j := p.start(prog)
		before := j.settle()
		p.checkpoint(j.pid(), p.path("image"))
		j.undisturbed(before)
		j.fates("alive", "alive", 1)
		s.hears(1)
		for n, c := range []struct{ flag, streams, datagrams string }{
			{"--unix=reset", "reset", "alive"}, {"--unix=close", "closed", "refused"}, {"--unix=connect", "alive", "alive"},
		} {
			p.restart(prog, p.path("image"), c.flag).fates(c.streams, c.datagrams, n+2)
		}
		s.hears(3)
		s.stop()
		p.restart(prog, p.path("image")).fates("reset", "refused", 5)
		got := p.supervise(nil, "restart", p.path("image"), "--unix=connect")
		if got.code != 5 || !strings.Contains(got.err, "cannot connect to the unix socket") {
			t.Errorf("nobody to connect to: exit code %d: %s", got.code, got.err)
		}
	})
}
