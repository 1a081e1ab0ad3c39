package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// redis starts a redis server, and gives its socket.
func (p *place) redis() string {
	p.t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		p.t.Skip("there is no redis-server here")
	}
	socket := filepath.Join(p.logs, "redis")
	cmd := exec.Command(binary, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "777", "--save", "", "--dir", p.logs)
	must(p.t, cmd.Start())
	p.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	wait(p.t, "redis", 20*time.Second, func() string {
		if _, err := os.Stat(socket); err != nil {
			return err.Error()
		}
		return ""
	})
	return socket
}

// session is a program that has a session with redis.
func session(args ...string) program {
	return program{name: "session", argv: script("/usr/bin/python3", "py/session.py"), args: args, how: rootOnly}
}

// TestDatabaseReopened: the program closes its session before a snapshot, and
// opens it when it goes on, in the original and in three generations.
func TestDatabaseReopened(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := session(p.redis(), "reopens").supervised()
		j := p.start(prog)
		p.ok("checkpoint", "job")
		j.says("resumed", 1)
		for n := range 3 {
			// What it has counted since must not be lost: it is ended by the snapshot.
			p.ok("checkpoint", "job", "--stop")
			j.gone()
			j = p.restart(prog, "job")
			j.says("restarted", n+1)
		}
		j.finish(1)
	})
}

// TestDatabaseHandedOver: the program knows nothing; a plugin opens another
// session, and hands it over in the place of the old one.
func TestDatabaseHandedOver(t *testing.T) {
	forUsers(t, func(p *place) {
		redis := p.redis()
		opens := p.plugin("opens", `"events":["before-restart"],"deadline_ms":20000`, fmt.Sprintf(`
for e in events():
    s = socket.socket(socket.AF_UNIX)
    s.connect(%q)
    out = socket.socket(fileno=os.dup(1))
    line = json.dumps(dict(reply=e["seq"], descriptors=[{"fd": 3}])) + "\n"
    socket.send_fds(out, [line.encode()], [s.fileno()])
    note("handed over")
`, redis))
		prog := session(redis).under("--plugin", opens)
		j := p.start(prog)
		wrong := p.plugin("wrong", `"events":["before-restart"],"deadline_ms":20000`, `
for e in events():
    socket.send_fds(socket.socket(fileno=os.dup(1)), [(json.dumps(dict(reply=e["seq"], descriptors=[{"fd": 77}])) + "\n").encode()], [0])
`)
		for range 3 {
			p.quietly(j)
			p.fails(5, "it has no descriptor 77", "restart", "job", "--plugin", wrong)
			j = p.restart(prog, "job")
		}
		j.finish(1)
	})
}

// quietly ends a tree with a snapshot that finds it between two steps: what redis has
// not answered yet would be lost with the connection.
func (p *place) quietly(j *job) {
	p.t.Helper()
	must(p.t, os.WriteFile(filepath.Join(p.logs, "pause"), nil, 0o644))
	time.Sleep(200 * time.Millisecond)
	p.ok("checkpoint", "job", "--stop")
	j.gone()
	must(p.t, os.Remove(filepath.Join(p.logs, "pause")))
}

// TestLease: what must be renewed after a restart is, by a hook of the shell.
func TestLease(t *testing.T) {
	forUsers(t, func(p *place) {
		lease := filepath.Join(p.logs, "lease")
		must(t, os.WriteFile(lease, []byte("lease 0"), 0o666))
		must(t, os.Chmod(lease, 0o666))
		prog := asking("lease", supervise, lease).under("--on-restart", "echo lease $SUPERVISE_GENERATION > "+lease,
			"--on-checkpoint", "echo lease is being renewed > "+lease, "--on-resume", "echo lease $SUPERVISE_GENERATION > "+lease)
		j := p.start(prog)
		p.ok("checkpoint", "job")
		for range 3 {
			p.ok("checkpoint", "job", "--stop")
			j.gone()
			j = p.restart(prog, "job")
		}
		j.finish(1)
	})
}
