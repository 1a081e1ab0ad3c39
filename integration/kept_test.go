package integration

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// callsBothWays is a program that calls a server by IPv4 and IPv6, for root.
func callsBothWays(t *testing.T) (*place, *server, program) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can keep connections (TCP_REPAIR)")
	}
	s := newServer(t)
	prog := one("callers").with("tcp:"+s.listen("tcp", "127.0.0.1:0"), "tcp:"+strings.NewReplacer("[", "", "]", "").Replace(s.listen("tcp", "[::1]:0")))
	return newPlace(t, root), s, prog
}

// TestTCPKept: connections are kept over the end of the tree and a restart,
// three times; what the other end sends meanwhile comes through.
func TestTCPKept(t *testing.T) {
	p, s, prog := callsBothWays(t)
	j := p.start(prog)
	before := j.settle()
	for n := range 3 {
		image := p.path("image" + strconv.Itoa(n))
		p.checkpoint(j.pid(), image, "--stop", "--tcp=keep")
		j.gone()
		s.sayAll("meanwhile")
		got := p.supervise(nil, "restart", image, "--tcp=keep", "--net=private")
		if got.code != 5 {
			t.Errorf("a private network cannot have the connection: exit code %d: %s", got.code, got.err)
		}
		j = p.restart(prog, image, "--tcp=keep")
		j.like(before)
	}
	j.fates("kept", "-", 1)
	if n := s.count(); n != 2 {
		t.Errorf("%d connections were made", n)
	}
}

// TestTCPKeptAtEnd: a connection whose other end has sent its end is kept, too,
// with what came before.
func TestTCPKeptAtEnd(t *testing.T) {
	p, s, prog := callsBothWays(t)
	j := p.start(prog)
	for _, c := range s.conns {
		must(t, c.(*net.TCPConn).CloseWrite())
	}
	before := j.settle()
	for n := range 3 {
		image := p.path("image" + strconv.Itoa(n))
		p.checkpoint(j.pid(), image, "--stop", "--tcp=keep")
		j.gone()
		j = p.restart(prog, image, "--tcp=keep")
		j.like(before)
	}
	j.fates("closed", "-", 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF && !errors.Is(err, net.ErrClosed) {
			t.Errorf("the other end reads %d bytes: %v", n, err)
		}
	}
}

// TestTCPKeptKilled: a supervisor that is killed, or fails, while it keeps
// connections leaves them as they were, and no rule of the firewall.
func TestTCPKeptKilled(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can keep connections (TCP_REPAIR)")
	}
	p := newPlace(t, root)
	_, j := p.caller()
	before := j.settle()
	for _, fault := range []string{"kill:survey", "kill:capture", "kill:memory", "kill:thaw", "kill:commit", "fail:capture", "fail:commit"} {
		got := p.supervise([]string{"SUPERVISE_FAULT=" + fault}, "checkpoint", j.pid(), "--image", p.path(fault), "--stop", "--tcp=keep")
		if got.code == 0 {
			t.Errorf("%s: no failure", fault)
		}
		if wrong := unharmed(j.tree()); wrong != "" {
			t.Errorf("%s: %s", fault, wrong)
		}
		if rules := ourRules(t); rules != "" {
			t.Errorf("%s: left in the firewall: %s", fault, rules)
		}
		p.checkpoint(j.pid(), p.path(fault+"-next")) // removes the code that a killed one leaves
		j.undisturbed(before)
	}
	p.checkpoint(j.pid(), p.path("image"), "--stop", "--tcp=keep")
	j.gone()
	for _, fault := range []string{"fail:skeleton", "fail:threads"} {
		if got := p.supervise([]string{"SUPERVISE_FAULT=" + fault}, "restart", p.path("image"), "--tcp=keep"); got.code == 0 {
			t.Errorf("%s: no failure", fault)
		}
	}
	again := p.restart(j.prog, p.path("image"), "--tcp=keep")
	again.like(before)
	again.fates("alive", "-", 1)
	wait(t, "nothing left in the firewall", 10*time.Second, func() string { return ourRules(t) })
}

// ourRules are the tables of supervise in the firewall.
func ourRules(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "tables").CombinedOutput()
	if err != nil {
		t.Fatalf("nft list tables: %v: %s", err, out)
	}
	var ours []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "supervise-") {
			ours = append(ours, strings.TrimSpace(line))
		}
	}
	return strings.Join(ours, ", ")
}

// TestKeepNeedsRoot: an ordinary user is told that he cannot keep connections,
// and keeps running.
func TestKeepNeedsRoot(t *testing.T) {
	for _, u := range users() {
		if u.uid == 0 {
			continue
		}
		p := newPlace(t, u)
		_, j := p.caller()
		before := j.settle()
		p.fails(3, "cannot be kept", "checkpoint", j.pid(), "--image", p.path("image"), "--stop", "--tcp=keep")
		p.fails(2, "needs --stop", "checkpoint", j.pid(), "--image", p.path("image"), "--tcp=keep")
		j.undisturbed(before)
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		p.fails(5, "cannot be kept", "restart", p.path("image"), "--tcp=keep")
		p.restart(j.prog, p.path("image")).fates("reset", "-", 1)
	}
}
