package integration

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// A service is a server that nobody wrote for supervise; see service.py.
type service struct {
	name  string
	files bool // its files change until it is killed, and a snapshot does not have them
	alone bool // it serves one client at a time
}

var services = []service{
	{name: "nginx"},
	{name: "haproxy"},
	{name: "mosquitto"},
	{name: "rsync", files: true},
	{name: "postgres", files: true},
	{name: "socat"},
	{name: "netcat", alone: true},
	{name: "websocket"},
}

// TestServices has servers go on after a snapshot, and come back after one that
// ended them and after they were killed, three generations deep. Clients in the tree keep
// their connections and notice nothing; others come from outside.
func TestServices(t *testing.T) {
	for _, s := range services {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			forUsers(t, func(p *place) { s.test(p) })
		})
	}
}

func (s service) test(p *place) {
	prog := program{name: s.name, argv: script("/usr/bin/python3", "py/service.py"), args: []string{s.name}, how: rootOnly}
	j := p.start(prog)
	before := j.settle()
	s.visit(p, 100)
	p.checkpoint(j.pid(), p.path("image"))
	j.undisturbed(before)
	s.visit(p, 200)
	for n := range 3 {
		image := p.path("image" + strconv.Itoa(n))
		if n == 1 && !s.files {
			p.checkpoint(j.pid(), image)
			saved := p.saveFiles()
			j.killTree()
			j.close()
			p.putBack(saved)
		} else {
			p.checkpoint(j.pid(), image, "--stop")
			j.gone()
		}
		j = p.restart(prog, image)
		j.says("ready", 1)
		j.like(before)
		s.visit(p, 1000*n)
	}
	j.finish(1)
}

// visit has a client outside of the tree ask a service.
func (s service) visit(p *place, n int) {
	p.t.Helper()
	if s.alone {
		return
	}
	var host, port string
	fmt.Sscan(slurp(p.path("work/at")), &host, &port)
	cmd := exec.Command("/usr/bin/python3", dataDir+"/py/service.py", "ask", s.name, host, port, strconv.Itoa(n))
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.path("work"), append(p.env(), "TMPDIR="+p.logs), p.user.attr()
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("a client outside: %v: %s\n%s", err, strings.TrimSpace(string(out)), slurp(p.logFile()))
	}
}
