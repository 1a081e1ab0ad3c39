package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// moved is what things are called in a generation of moves.py.
type moved struct {
	Dir      string `json:"dir"`
	Path     string `json:"path"`   // of the unix socket of a server outside
	Server   string `json:"server"` // one outside
	Own      string `json:"own"`    // where the program listens
	UDP      string `json:"udp"`
	UDPPeer  string `json:"udp_peer"`
	Hostname string `json:"hostname"`

	packets net.PacketConn
}

// names makes what is outside of generation n.
func (p *place) names(n int) moved {
	p.t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	must(p.t, err)
	p.t.Cleanup(func() { packets.Close() })
	m := moved{Dir: p.path("work/gen" + strconv.Itoa(n)), Path: p.path("work/server" + strconv.Itoa(n)), Hostname: fmt.Sprintf("gen%d.example.org", n),
		Own: fmt.Sprintf("127.0.0.1:%d", freePort(p.t)), UDP: fmt.Sprintf("127.0.0.1:%d", freePort(p.t)), UDPPeer: packets.LocalAddr().String(), packets: packets}
	outside := newServer(p.t)
	m.Server = outside.listen("tcp", "127.0.0.1:0")
	outside.listen("unix", m.Path)
	must(p.t, os.Chmod(m.Path, 0o777))
	return m
}

func (p *place) tell(n int, m any) {
	b, err := json.Marshal(m)
	must(p.t, err)
	temp := filepath.Join(p.logs, "next")
	must(p.t, os.WriteFile(temp, b, 0o644))
	must(p.t, os.Rename(temp, p.goFile()+"-"+strconv.Itoa(n)))
}

// heard waits for the datagram of a generation.
func (m *moved) heard(p *place, n int) {
	buf := make([]byte, 100)
	must(p.t, m.packets.SetReadDeadline(time.Now().Add(20*time.Second)))
	size, _, err := m.packets.ReadFrom(buf)
	if got := string(buf[:size]); err != nil || got != fmt.Sprintf("generation %d", n+1) {
		p.t.Errorf("generation %d: a datagram %q, %v", n, got, err)
	}
}

// translator is a plugin that gives the translations in a file.
func (p *place) translator() string {
	return p.plugin("translator", `"events":["before-restart"]`, `
for e in events():
    with open(sys.argv[1] + ".now") as f: reply(e, **json.load(f))
`)
}

func (p *place) translations(reply any) {
	b, err := json.Marshal(reply)
	must(p.t, err)
	must(p.t, os.WriteFile(filepath.Join(p.logs, "told.now"), b, 0o644))
}

// TestTranslate: over three generations the directory of a program, the servers
// it is connected to, where it listens itself, and the host are called otherwise.
func TestTranslate(t *testing.T) {
	forUsers(t, func(p *place) {
		old := p.names(0)
		must(t, os.Mkdir(old.Dir, 0o755))
		must(t, os.Chown(old.Dir, p.user.uid, p.user.uid))
		p.tell(0, old)
		prog := program{name: "moves", argv: script("/usr/bin/python3", "py/moves.py"), lead: true}.under("--plugin", p.translator())
		j := p.start(prog)
		old.heard(p, 0)
		for n := 1; n <= 3; n++ {
			p.ok("checkpoint", "job", "--stop")
			j.gone()
			now := p.names(n)
			must(t, os.Rename(old.Dir, now.Dir))
			p.translations(map[string]any{"hostname": now.Hostname, "paths": map[string]string{old.Dir: now.Dir, old.Path: now.Path},
				"addresses": map[string]string{old.Server: now.Server, old.Own: now.Own, old.UDP: now.UDP, old.UDPPeer: now.UDPPeer}})
			j = p.restart(prog, "job")
			p.tell(n, now)
			j.says(fmt.Sprintf("round %d", n), 1)
			now.heard(p, n)
			old = now
		}
		p.tell(4, map[string]bool{"end": true})
		j.says("ok", 1)
		j.ended()
	})
}

// TestTranslateRefused: what cannot be is refused before there is anything: a
// translation that is none, another file in the place of a mapped one, a path
// that leads nowhere, an address that this host has not.
func TestTranslateRefused(t *testing.T) {
	forUsers(t, func(p *place) {
		first := p.names(0)
		must(t, os.Mkdir(first.Dir, 0o755))
		must(t, os.Chown(first.Dir, p.user.uid, p.user.uid))
		p.tell(0, first)
		prog := program{name: "moves", argv: script("/usr/bin/python3", "py/moves.py"), lead: true}.under("--plugin", p.translator())
		j := p.start(prog)
		p.ok("checkpoint", "job", "--stop")
		j.gone()
		other := p.path("work/other")
		must(t, os.CopyFS(other, os.DirFS(first.Dir+"/sub")))
		must(t, os.WriteFile(other+"/data", []byte("something else"), 0o644))
		for _, c := range []struct {
			code  int
			why   string
			reply map[string]any
		}{
			{125, "paths: \"work\" is not a full path", map[string]any{"paths": map[string]string{"work": "/x"}}},
			{125, "are not of one family", map[string]any{"addresses": map[string]string{"127.0.0.1": "::1"}}},
			{5, "does not do", map[string]any{"hostname": fmt.Sprintf("%0100d", 1)}},
			{5, "has changed since the snapshot", map[string]any{"paths": map[string]string{first.Dir + "/data": other + "/data"}}},
			{5, "no such file", map[string]any{"paths": map[string]string{first.Dir: "/nonexistent"}}},
			{5, "is too long for a unix socket", map[string]any{"paths": map[string]string{first.Dir + "/served": fmt.Sprintf("/tmp/%0200d", 1)}}},
			{5, "cannot be made again", map[string]any{"addresses": map[string]string{first.Own: "192.0.2.1:80"}}},
		} {
			p.translations(c.reply)
			p.fails(c.code, c.why, "restart", "job")
		}
		p.translations(map[string]any{"addresses": map[string]string{first.Server: first.Server}})
		first.Hostname, _ = os.Hostname()
		again := p.restart(prog, "job", "--policy", p.policyFile("connect", "connect all\n")[1])
		p.tell(1, first)
		again.says("round 1", 1)
		p.tell(2, map[string]bool{"end": true})
		again.says("ok", 1)
		again.ended()
	})
}
