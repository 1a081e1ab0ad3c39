package integration

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
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

// caller starts a program with a TCP connection to a server outside.
func (p *place) caller() (*server, *job) {
	p.t.Helper()
	s := newServer(p.t)
	return s, p.start(one("callers").with("tcp:" + s.listen("tcp", "127.0.0.1:0")))
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

// sayAll says something to all that are connected.
func (s *server) sayAll(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if _, err := c.Write([]byte(text)); err != nil {
			s.t.Errorf("say %q: %v", text, err)
		}
	}
}

// count is how many have connected.
func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
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
		next := newServer(p.t) // the program that served the paths has been started again
		next.listen("unix", at("stream"))
		next.listen("unixpacket", at("packets"))
		next.listen("unix", abstract)
		must(p.t, os.Remove(at("datagrams")))
		next.receive(at("datagrams"))
		p.restart(prog, p.path("image"), "--unix=connect").fates("alive", "alive", 6)
		next.hears(1)
	})
}

// TestFlood: data flows through a connection out of the tree while a snapshot
// is taken every 200 ms. Each byte comes back once, in order.
func TestFlood(t *testing.T) {
	mib := 64
	if n, err := strconv.Atoi(os.Getenv("SUPERVISE_FLOOD")); err == nil {
		mib = n
	}
	forUsers(t, func(p *place) {
		s := newServer(p.t)
		s.listen("unix", p.path("work/stream"))
		for _, where := range []string{"tcp:" + s.listen("tcp", "127.0.0.1:0"), "unix:" + p.path("work/stream")} {
			must(p.t, os.RemoveAll(p.logFile()))
			j := p.start(one("flood").with(where, strconv.Itoa(mib)))
			taken := 0
			for ; !strings.Contains(slurp(p.logFile()), "ok\n"); time.Sleep(200 * time.Millisecond) {
				got := p.supervise(nil, "checkpoint", j.pid(), "--image", p.path("image"))
				if got.code != 0 {
					if j.says("ok", 1); !strings.Contains(got.err, "gone") {
						p.t.Errorf("checkpoint: exit code %d: %s", got.code, got.err)
					}
					break
				}
				taken++
				must(p.t, os.RemoveAll(p.path("image")))
			}
			j.ended()
			p.t.Logf("%d MiB there and back by %s, %d snapshots", mib, where, taken)
			if taken == 0 {
				p.t.Error("no snapshot was taken meanwhile")
			}
		}
	})
}

// TestVethKept: a peer on another host, which a network namespace stands for,
// keeps its connection to a server in the tree over stop and restart.
func TestVethKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a link to another network namespace")
	}
	p := newPlace(t, root)
	veth := strconv.Itoa(os.Getpid() % 10000)
	name := func(s string) string { return "sv" + s + veth }
	for _, args := range [][]string{
		{"netns", "add", name("n")},
		{"link", "add", name("a"), "type", "veth", "peer", "name", name("b"), "netns", name("n")},
		{"address", "add", "10.213.7.1/30", "dev", name("a")},
		{"link", "set", name("a"), "up"},
		{"-n", name("n"), "address", "add", "10.213.7.2/30", "dev", name("b")},
		{"-n", name("n"), "link", "set", name("b"), "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
		if args[1] == "add" && args[0] == "netns" {
			t.Cleanup(func() { exec.Command("ip", "netns", "del", name("n")).Run() })
		}
	}
	port := freePort(t)
	prog := program{name: "talker", argv: script("/usr/bin/python3", "py/talker.py"), args: []string{strconv.Itoa(port)}, how: rootOnly}
	j := p.start(prog)
	before := j.settle()
	client := exec.Command("ip", "netns", "exec", name("n"), "/usr/bin/python3", dataDir+"/py/talkto.py", "10.213.7.1", strconv.Itoa(port), "150")
	var said strings.Builder
	client.Stdout, client.Stderr = &said, &said
	must(t, client.Start())
	t.Cleanup(func() { client.Process.Kill(); client.Wait() })
	for n := range 3 {
		time.Sleep(500 * time.Millisecond)
		image := p.path("image" + strconv.Itoa(n))
		p.checkpoint(j.pid(), image, "--stop", "--tcp=keep")
		j.gone()
		j = p.restart(prog, image, "--tcp=keep")
		j.like(before)
	}
	if err := client.Wait(); err != nil {
		t.Errorf("the client: %v: %s", err, said.String())
	}
	j.finish(1)
}
