package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// netOf is the network namespace of a process.
func netOf(t testing.TB, pid int) string {
	t.Helper()
	link, err := os.Readlink(procPath(pid, "ns/net"))
	must(t, err)
	return link
}

// TestPrivateNet: a tree gets a network namespace of its own, keeps one over
// snapshots and restarts, and leaves it when told to.
func TestPrivateNet(t *testing.T) {
	for _, name := range []string{"unixpairs", "unixnames", "unixmsgs"} {
		t.Run(name, func(t *testing.T) {
			forUsers(t, func(p *place) {
				ours := netOf(p.t, os.Getpid())
				j := p.start(one(name))
				before := j.settle()
				for _, gen := range []struct {
					flag    string
					private bool
				}{{"--net=private", true}, {"--net=as-before", true}, {"--net=private", true}, {"--net=host", false}, {"--net=as-before", false}} {
					image := p.path("image" + gen.flag + netOf(p.t, j.root)[4:])
					p.checkpoint(j.pid(), image, "--stop")
					j.gone()
					j = p.restart(j.prog, image, gen.flag)
					j.like(before)
					if private := netOf(p.t, j.root) != ours; private != gen.private {
						p.t.Errorf("restart %s: in a private namespace: %v", gen.flag, private)
					}
				}
				j.finish(1)
			})
		})
	}
}

// TestPrivatePath: two copies cannot serve one path, also when they live in
// network namespaces of their own.
func TestPrivatePath(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("unixnames")
		j := p.start(prog)
		before := j.settle()
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		j = p.restart(prog, p.path("image"), "--net=private")
		p.fails(5, "another program uses the socket", "restart", p.path("image"), "--net=private")
		j.like(before)
		j.finish(1)
	})
}

// TestPrivatePing: in a network namespace of its own a tree may ping, whatever
// its host allows, and a ping socket comes back in the next one.
func TestPrivatePing(t *testing.T) {
	forUsers(t, func(p *place) {
		file := p.path("logs/count")
		prog := program{name: "pings", argv: script("/usr/bin/python3", "py/pings.py"), args: []string{file}, how: rootOnly}
		j := p.start(prog)
		for n := range 3 {
			image := p.path(fmt.Sprint("image", n))
			p.checkpoint(j.pid(), image, "--stop")
			j.gone()
			j = p.restart(prog, image, "--net=private")
			before := slurp(file)
			wait(p.t, "ping", 20e9, func() string {
				j.says("ready", 1) // and no failure
				if now := slurp(file); now == before {
					return "pings: " + now
				}
				return ""
			})
		}
		j.finish(1)
	})
}

// counter is a server in Python on a port.
func counter(port int) program {
	return program{name: "counter", argv: script("/usr/bin/python3", "py/counter.py"), args: []string{strconv.Itoa(port)}, how: rootOnly}
}

// freePort is a port that nobody has just now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// askCounter connects to the counter in a tree's network namespace, as its user.
func (j *job) askCounter(port, want int) {
	j.t.Helper()
	const ask = "import socket,sys; print(socket.create_connection(('127.0.0.1',int(sys.argv[1])),5).recv(9).decode().strip())"
	enter := []string{"--preserve-credentials", "--net", "--target", j.pid()}
	if j.p.user.uid != 0 {
		enter = append(enter, "--user")
	}
	cmd := exec.Command("nsenter", append(enter, "/usr/bin/python3", "-c", ask, strconv.Itoa(port))...)
	cmd.SysProcAttr = j.p.user.attr()
	out, err := cmd.CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != strconv.Itoa(want) {
		j.t.Errorf("the counter says %q, not %d: %v", got, want, err)
	}
}

// TestPrivateCopies: three copies of a server have the same port side by side,
// go on by themselves, and do so again in the next generation.
func TestPrivateCopies(t *testing.T) {
	forUsers(t, func(p *place) {
		port := freePort(p.t)
		prog := counter(port)
		j := p.start(prog)
		j.settle()
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		must(p.t, err)
		_, err = io.ReadAll(c) // up to the end: it has been counted
		must(p.t, err)
		c.Close()
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		copies := make([]*job, 3)
		for i := range copies {
			copies[i] = p.restart(prog, p.path("image"), "--net=private")
		}
		for i, c := range copies {
			for n := range i + 1 {
				c.askCounter(port, n+2)
			}
		}
		p.checkpoint(copies[2].pid(), p.path("image2"))
		again := p.restart(prog, p.path("image2"))
		again.askCounter(port, 5)
		copies[2].askCounter(port, 5)
		must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
		for _, c := range append(copies, again) {
			c.ended()
		}
	})
}

// TestReachIn: slirp4netns leads a port of this host to a tree in a network
// namespace of its own.
func TestReachIn(t *testing.T) {
	tool, err := exec.LookPath("slirp4netns")
	if err != nil {
		t.Skip("there is no slirp4netns")
	}
	forUsers(t, func(p *place) {
		if !p.mayWrite("/dev/net/tun") {
			p.t.Skip("/dev/net/tun is not open to this user, and slirp4netns needs it")
		}
		port, door := freePort(p.t), freePort(p.t)
		prog := counter(port)
		j := p.start(prog)
		j.settle()
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		j = p.restart(prog, p.path("image"), "--net=private")
		args := []string{"--configure", "--api-socket", p.path("work/api")}
		if p.user.uid != 0 {
			args = append(args, "--userns-path="+procPath(j.root, "ns/user"))
		}
		cmd := exec.Command(tool, append(args, j.pid(), "tap0")...)
		cmd.SysProcAttr = p.user.attr()
		must(p.t, cmd.Start())
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
		wait(p.t, "slirp4netns", 10e9, func() string { return forward(p.path("work/api"), door, port) })
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(door), 5*time.Second)
		must(p.t, err)
		defer c.Close()
		must(p.t, c.SetDeadline(time.Now().Add(10*time.Second)))
		if got, err := io.ReadAll(c); string(got) != "1\n" {
			p.t.Errorf("through the door comes %q (%v)", got, err)
		}
		must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
		j.ended()
	})
}

// forward asks slirp4netns to lead a port of this host inside.
func forward(api string, from, to int) string {
	c, err := net.Dial("unix", api)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	fmt.Fprintf(c, `{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_addr":"127.0.0.1","host_port":%d,"guest_addr":"10.0.2.100","guest_port":%d}}`, from, to)
	answer, err := io.ReadAll(c)
	if !strings.Contains(string(answer), "return") {
		return fmt.Sprintf("%s %v", answer, err)
	}
	return ""
}

// mayWrite tells whether the user may open a file for writing.
func (p *place) mayWrite(file string) bool {
	cmd := exec.Command("test", "-w", file)
	cmd.SysProcAttr = p.user.attr()
	return cmd.Run() == nil
}
