package integration

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A patron is a client outside of the tree that lives on while the server is
// taken away, and answers each line that it is told with one.
type patron struct {
	p     *place
	in    io.Writer
	lines chan string
}

// newPatron starts a client.
func (p *place) newPatron(argv ...string) *patron {
	p.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.path("work"), p.env(), p.user.attr()
	in, err := cmd.StdinPipe()
	must(p.t, err)
	out, err := cmd.StdoutPipe()
	must(p.t, err)
	cmd.Stderr = cmd.Stdout
	must(p.t, cmd.Start())
	c := &patron{p: p, in: in, lines: make(chan string, 100)}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	p.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return c
}

// ask tells the client a line, and gives the next one that is not blank.
func (c *patron) ask(line string) string {
	c.p.t.Helper()
	_, err := fmt.Fprintln(c.in, line)
	must(c.p.t, err)
	for {
		select {
		case answer := <-c.lines:
			if strings.TrimSpace(answer) != "" {
				return answer
			}
		case <-time.After(20 * time.Second):
			c.p.t.Fatalf("no answer to %q", line)
		}
	}
}

// expects is ask for an answer that is known.
func (c *patron) expects(line, want string) {
	c.p.t.Helper()
	if got := c.ask(line); got != want {
		c.p.t.Errorf("%q: %q, want %q", line, got, want)
	}
}

// lives has a server go on after a snapshot, and then come back three times, each
// time from a snapshot of what came back. visits is told which generation it is in:
// -1 before any snapshot, 0 after the first, 1 to 3 after restarts.
func (p *place) lives(prog program, visits func(generation int)) {
	p.t.Helper()
	j := p.start(prog)
	visits(-1)
	p.checkpoint(j.pid(), p.path("image"))
	visits(0)
	for n := range 3 {
		image := p.path("image" + strconv.Itoa(n))
		p.checkpoint(j.pid(), image, "--stop")
		j.gone()
		j = p.restart(prog, image)
		visits(n + 1)
	}
	j.finish(1)
}

// TestNodePatrons: a client of node's that keeps its connections, and curl, ask a
// server in the tree. The connection lives through a snapshot; after a restart
// the client makes another.
func TestNodePatrons(t *testing.T) {
	forUsers(t, func(p *place) {
		port := strconv.Itoa(freePort(p.t))
		var node *patron
		asked, made := 0, 1
		p.lives(program{name: "node server", argv: script("/usr/bin/node", "js/server.js"), args: []string{port}, how: rootOnly}, func(generation int) {
			if node == nil {
				node = p.newPatron("/usr/bin/node", dataDir+"/js/patron.js", port)
			}
			if generation > 0 {
				made++
			}
			for range 3 {
				asked++
				node.expects("/node", fmt.Sprintf("/node %d %d", asked, made))
			}
			out, err := exec.Command("curl", "-sS", "--no-progress-meter", "http://127.0.0.1:"+port+"/curl", "http://127.0.0.1:"+port+"/curl").CombinedOutput()
			n := 2*(generation+1) + 1
			if want := fmt.Sprintf("/curl %d/curl %d", n, n+1); err != nil || string(out) != want {
				p.t.Errorf("curl: %v: %q, want %q", err, out, want)
			}
		})
	})
}

// meet has redis-cli connect, which says how that fails.
func (c *patron) meet() {
	c.p.t.Helper()
	n := 0
	wait(c.p.t, "an answer for redis-cli", 20*time.Second, func() string {
		n++
		said, other := fmt.Sprintf("meet%d", n), ""
		fmt.Fprintln(c.in, "ECHO "+said)
		for end := time.After(time.Second); ; {
			select {
			case line := <-c.lines:
				if line == said {
					return ""
				}
				other += line + "; "
			case <-end:
				return other
			}
		}
	})
}

// TestRedisPatrons: redis-cli outside of the tree talks to a server inside. It
// notices a restart, and connects anew by itself; what it has stored is there.
func TestRedisPatrons(t *testing.T) {
	forUsers(t, func(p *place) {
		port := strconv.Itoa(freePort(p.t))
		prog := program{name: "redis", argv: script("/bin/sh", "sh/server.sh"), how: rootOnly,
			args: []string{"redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", p.logs}}
		var cli *patron
		n := 0
		p.lives(prog, func(int) {
			if cli == nil {
				cli = p.newPatron("redis-cli", "-p", port)
				cli.meet()
				cli.expects("SET name value", "OK")
			}
			cli.meet()
			for range 3 {
				n++
				cli.expects("INCR count", strconv.Itoa(n))
			}
			cli.expects("GET name", "value")
			out, err := exec.Command("redis-cli", "-p", port, "GET", "count").CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != strconv.Itoa(n) {
				p.t.Errorf("another redis-cli: %v: %q, want %d", err, got, n)
			}
		})
	})
}
