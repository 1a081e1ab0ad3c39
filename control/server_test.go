package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

// host is a Host whose tree has the processes in inside.
type host struct {
	inside func(pid int) bool
	taken  chan map[string]string
	fail   error
}

func (h *host) Hello() client.Hello { return client.Hello{Program: "test", Job: "job"} }
func (h *host) Status() (client.Status, error) {
	return client.Status{Job: "job", State: "running"}, nil
}
func (h *host) List() ([]client.Snapshot, error) { return nil, nil }
func (h *host) Checkpoint(a map[string]string) (client.Outcome, error) {
	if h.taken != nil {
		h.taken <- a
	}
	return client.Outcome{Image: "/images/1"}, h.fail
}
func (h *host) Remove(which string) (string, error) { return "job@" + which, h.fail }
func (h *host) Restore(string, func() (int, error), int64) error {
	return &client.Error{Code: client.Unsupported, Message: "no"}
}
func (h *host) Inside(pid int) bool          { return h.inside != nil && h.inside(pid) }
func (h *host) Elsewhere(int, string) string { return "" }

// serve starts a server and gives its path.
func serve(t *testing.T, h *host) (*Server, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := New(h, Options{})
	path := filepath.Join(dir, "control")
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, path
}

// peer is a client that sees the lines.
type peer struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Scanner
}

func dial(t *testing.T, path string) *peer {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newPeer(t, c)
}

func newPeer(t *testing.T, c net.Conn) *peer {
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, 2*client.MaxLine)
	return &peer{t, c, lines}
}

func (p *peer) say(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.conn, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) hear() string {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if !p.lines.Scan() {
		p.t.Fatalf("nothing more comes: %v", p.lines.Err())
	}
	return p.lines.Text()
}

func (p *peer) expect(parts ...string) {
	p.t.Helper()
	line := p.hear()
	for _, part := range parts {
		if !strings.Contains(line, part) {
			p.t.Fatalf("got %s, want %s in it", line, part)
		}
	}
}

// silent makes sure that nothing comes for a moment.
func (p *peer) silent() {
	p.t.Helper()
	var b [1]byte
	p.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := p.conn.Read(b[:]); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("something came: %d %v", n, err)
	}
	p.conn.SetReadDeadline(time.Time{})
}

func (p *peer) ended() {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for p.lines.Scan() {
	}
	if err := p.lines.Err(); err != nil && !errors.Is(err, unix.ECONNRESET) {
		p.t.Fatalf("the connection does not end: %v", err)
	}
}

func TestRequests(t *testing.T) {
	_, path := serve(t, &host{})
	p := dial(t, path)
	for _, test := range []struct{ ask, answer string }{
		{`{"id":1,"request":"hello","version":1}`, `{"id":1,"result":{"version":1,"program":"test","job":"job","generation":0}}`},
		{`{"id":1,"request":"hello","version":2}`, `{"id":1,"error":{"code":"version","message":"version 2 is not spoken here, 1 is"}}`},
		{`{"id":2,"request":"list"}`, `{"id":2,"result":{"snapshots":[]}}`},
		{`{"id":3,"request":"dance"}`, `{"id":3,"error":{"code":"unknown","message":"there is no request \"dance\""}}`},
		{`{"id":4,"request":"checkpoint","name":7}`, `"code":"malformed"`},
		{`{"id":5,"request":"checkpoint"}`, `{"id":5,"result":{"outcome":"resumed","generation":0,"image":"/images/1"}}`},
		{`{"id":6,"request":"remove","snapshot":3}`, `{"id":6,"result":{"removed":"job@3"}}`},
		{`{"id":7,"request":"remove"}`, `"code":"malformed"`},
		{`{"id":8,"request":"restore"}`, `"code":"unsupported"`},
		{`{"id":9,"request":"register","events":["lunch"]}`, `"code":"unknown"`},
		{`{"id":9,"request":"register","events":["resumed"],"deadline_ms":70000}`, `"code":"malformed"`},
		{`{"id":10,"request":"annotate","set":{"a":"1","b":"2"}}`, `{"id":10,"result":{"annotations":{"a":"1","b":"2"}}}`},
		{`{"id":11,"request":"annotate","set":{"a":null,"supervise.x":"1"}}`, `"code":"malformed"`},
		{`{"id":12,"request":"annotate","set":{"a":null}}`, `{"id":12,"result":{"annotations":{"b":"2"}}}`},
		{`{"id":13,"request":"release"}`, `"code":"failed"`},
		{`{"id":14,"request":"event","event":"frozen"}`, `event without begin`},
		{`{"id":15,"request":"adopt"}`, `"code":"malformed"`},
		{`  `, ``},
		{`{"id":16,"request":"status"}`, `"snapshot_running":false,"holds":[],"annotations":{"b":"2"}}`},
	} {
		p.say("%s", test.ask)
		if test.answer != "" {
			p.expect(test.answer)
		}
	}
}

// TestNonsense: who speaks otherwise is told so, and hung up on.
func TestNonsense(t *testing.T) {
	s, path := serve(t, &host{})
	for _, line := range []string{`{`, `[]`, `"x"`, `{}`, `{"id":1}`, `{"request":"status"}`, strings.Repeat("x", client.MaxLine+1)} {
		p := dial(t, path)
		go fmt.Fprintf(p.conn, "%s\n", line)
		p.expect(`{"error":{"code":"malformed"`)
		p.ended()
	}
	flood := dial(t, path)
	go func() {
		for {
			if _, err := fmt.Fprintf(flood.conn, `{"id":1,"request":"annotate","set":{"a":"%s"}}`+"\n", strings.Repeat("x", 4000)); err != nil {
				return
			}
		}
	}()
	wait(t, "the end of who floods and does not read", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0
	})
	dial(t, path).say(`{"id":1,"request":"hello"}`)
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func TestHolds(t *testing.T) {
	_, path := serve(t, &host{})
	a, b, driver := dial(t, path), dial(t, path), dial(t, path)
	a.say(`{"id":1,"request":"hold","owner":"one"}`)
	a.expect(`{"owner":"one","depth":1}`)
	a.say(`{"id":2,"request":"hold","owner":"one"}`)
	a.expect(`"depth":2`)
	a.say(`{"id":3,"request":"checkpoint"}`)
	a.expect(`"code":"held"`)
	b.say(`{"id":1,"request":"release","owner":"one"}`)
	b.expect(`"code":"failed"`) // it is another's
	driver.say(`{"id":1,"request":"begin"}`)
	driver.silent()
	b.say(`{"id":2,"request":"hold"}`) // waits for the snapshot
	b.silent()
	a.say(`{"id":4,"request":"hold","owner":"one"}`)
	a.expect(`"depth":3`)
	for depth := 2; depth >= 0; depth-- {
		driver.silent()
		a.say(`{"id":5,"request":"release","owner":"one"}`)
		a.expect(fmt.Sprintf(`"depth":%d`, depth))
	}
	driver.expect(`{"id":1,"result":{"generation":0,"annotations":{}}}`)
	b.silent()
	driver.conn.Close()
	b.expect(`{"id":2,"result":{"owner":"","depth":1}}`)
}

// TestHoldsEnd: whoever crashes, or forgets, holds nothing back for long.
func TestHoldsEnd(t *testing.T) {
	_, path := serve(t, &host{})
	begin := func() {
		t.Helper()
		driver := dial(t, path)
		driver.say(`{"id":1,"request":"begin"}`)
		driver.expect(`"result"`)
		driver.say(`{"id":2,"request":"end"}`)
		driver.expect(`"result"`)
		driver.conn.Close()
	}
	p := dial(t, path)
	p.say(`{"id":1,"request":"hold","timeout_ms":30}`)
	p.expect(`"depth":1`)
	begin()
	p.say(`{"id":2,"request":"release"}`)
	p.expect(`"code":"failed"`)

	p.say(`{"id":3,"request":"hold","timeout_ms":3600000}`)
	p.expect(`"depth":1`)
	time.AfterFunc(30*time.Millisecond, func() { p.conn.Close() })
	begin()

	p = dial(t, path)
	p.say(`{"id":4,"request":"hold","owner":"x","detached":true,"timeout_ms":200}`)
	p.expect(`"depth":1`)
	p.conn.Close()
	start := time.Now()
	begin()
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Errorf("a detached hold ended with its connection, after %v", d)
	}
	p = dial(t, path)
	p.say(`{"id":5,"request":"hold","timeout_ms":3600001}`)
	p.expect(`"code":"malformed"`)
}

// drive begins a snapshot.
func drive(t *testing.T, path string) *peer {
	t.Helper()
	d := dial(t, path)
	d.say(`{"id":1,"request":"begin"}`)
	d.expect(`"result"`)
	return d
}

func (p *peer) event(name string) {
	p.say(`{"id":2,"request":"event","event":"%s","snapshot":{"job":"job"}}`, name)
}

func TestEvents(t *testing.T) {
	_, path := serve(t, &host{})
	a, b := dial(t, path), dial(t, path)
	for _, p := range []*peer{a, b} {
		p.say(`{"id":1,"request":"register","events":["before-freeze","captured","resumed","committed","failed"],"deadline_ms":20000}`)
		p.expect(`"result"`)
	}
	d := drive(t, path)
	d.event("before-freeze")
	a.expect(`"event":"before-freeze","seq":1,"deadline_ms":20000,"snapshot":{"job":"job","generation":0}`)
	b.silent()
	a.say(`{"reply":1}`)
	b.expect(`"event":"before-freeze"`)
	d.silent()
	b.say(`{"reply":99}`) // nobody has asked
	d.silent()
	b.say(`{"reply":1}`)
	d.expect(`"result":{}`)
	d.event("captured")
	a.expect(`"captured"`)
	a.say(`{"reply":2}`)
	b.expect(`"captured"`)
	b.say(`{"reply":2,"refuse":"not like this"}`)
	d.expect(`"code":"refused"`, "refuses at captured: not like this")
	d.say(`{"id":3,"request":"event","event":"failed","reason":"so","snapshot":{"job":"job"}}`)
	d.expect(`"result"`)
	a.expect(`"event":"failed","seq":3,"reason":"so"`)
	b.expect(`"event":"failed"`)
}

// TestBadClients: who hangs, dies or leaves costs bounded time, and those who
// were told are told that it failed.
func TestBadClients(t *testing.T) {
	_, path := serve(t, &host{})
	good := dial(t, path)
	good.say(`{"id":1,"request":"register","events":["before-freeze","failed"],"deadline_ms":20000}`)
	good.expect(`"result"`)
	bad := dial(t, path)
	bad.say(`{"id":1,"request":"register","events":["before-freeze"],"deadline_ms":50}`)
	bad.expect(`"result"`)
	for _, test := range []struct {
		do  func()
		why string
	}{
		{func() {}, "no reply within 50ms"},
		{func() { bad.conn.Close() }, "closed before it replied"},
	} {
		d := drive(t, path)
		d.event("before-freeze")
		good.expect("before-freeze")
		var e client.Event
		seq := good.seq(&e)
		good.say(`{"reply":%d}`, seq)
		bad.expect("before-freeze")
		test.do()
		d.expect("refuses at before-freeze", test.why)
		d.conn.Close() // it dies before it tells anybody
		good.expect(`"event":"failed"`, "has ended")
		good.seq(&e)
	}
	d := drive(t, path)
	d.event("before-freeze")
	good.expect("before-freeze")
}

// seq gives the number of the last event.
func (p *peer) seq(e *client.Event) int64 {
	if err := json.Unmarshal(p.lines.Bytes(), e); err != nil {
		p.t.Fatal(err)
	}
	return e.Seq
}

// TestPeers: who is neither of the tree nor its owner is not served; who is of
// the tree may not take snapshots by hand.
func TestPeers(t *testing.T) {
	h := &host{inside: func(int) bool { return true }}
	s, path := serve(t, h)
	p := dial(t, path)
	p.say(`{"id":1,"request":"begin"}`)
	p.expect(`"code":"denied"`)
	s.mu.Lock()
	s.uid = os.Getuid() + 1
	s.mu.Unlock()
	h.inside = func(int) bool { return false }
	if os.Getuid() != 0 {
		dial(t, path).ended()
	}
}

// TestSurvives takes connections from one server to another, as a snapshot
// does: what was on its way is there once.
func TestSurvives(t *testing.T) {
	first, path := serve(t, &host{inside: func(int) bool { return true }})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = path
	h := first.host.(*host)
	h.taken = make(chan map[string]string) // nobody takes it
	if err := first.Resume([]End{{FD: fds[0], State: []byte(`{}`)}}, client.Outcome{}); err != nil {
		t.Fatal(err)
	}
	p := peerOf(t, fds[1])
	p.say(`{"id":1,"request":"checkpoint","name":"x"}`)
	p.say(`{"id":2,"request":"register","events":["restarted"]}`)
	p.expect(`{"id":2,`)
	fmt.Fprint(p.conn, `{"id":3,"request":"hel`)
	ends := freezeForTest(t, first)
	if len(ends) != 1 {
		t.Fatalf("%d connections, not 1", len(ends))
	}
	second := New(&host{}, Options{Generation: 4})
	more, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range ends {
		if err := second.Resume([]End{{FD: more[0], State: state}}, client.Outcome{Image: "/i/1", Generation: 4, RootPID: 9}); err != nil {
			t.Fatal(err)
		}
	}
	q := peerOf(t, more[1])
	q.expect(`{"event":"restarted","seq":1,"snapshot":{"job":"job","root_pid":9,"generation":4,"image":"/i/1"}}`)
	q.expect(`{"id":1,"result":{"outcome":"restarted","generation":4,"image":"/i/1"}}`)
	fmt.Fprint(q.conn, `lo","version":1}`+"\n")
	q.expect(`{"id":3,"result":{"version":1,`)
	second.Close()
	q.ended()
}

func peerOf(t *testing.T, fd int) *peer {
	t.Helper()
	f := os.NewFile(uintptr(fd), "peer")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newPeer(t, c)
}

// freezeForTest freezes a server as a snapshot does.
func freezeForTest(t *testing.T, s *Server) map[uint32]json.RawMessage {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = &session{}
	return s.freeze()
}
