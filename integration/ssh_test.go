package integration

import (
	"fmt"
	"os"
	"os/exec"
	accounts "os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// sshd starts a server outside of any tree, with keys of its own, and gives the
// command of a client.
func (p *place) sshd() (client []string) {
	p.t.Helper()
	at := func(name string) string { return filepath.Join(p.logs, name) }
	do := func(argv ...string) *exec.Cmd {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env, cmd.SysProcAttr = p.env(), p.user.attr()
		return cmd
	}
	for _, key := range []string{"host", "mine"} {
		must(p.t, do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", at(key)).Run())
	}
	pam := "yes" // without it, an account that has no password is taken for a locked one
	if p.user.uid == 0 {
		pam = "no"
		must(p.t, os.MkdirAll("/run/sshd", 0o755))
	}
	config := fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM %s\nStrictModes no\nPermitRootLogin yes\n", at("host"), at("mine.pub"), pam)
	must(p.t, os.WriteFile(at("config"), []byte(config), 0o644))
	port := strconv.Itoa(freePort(p.t))
	server := do("/usr/sbin/sshd", "-D", "-f", at("config"), "-o", "ListenAddress=127.0.0.1:"+port)
	must(p.t, server.Start())
	p.t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	me, err := accounts.LookupId(strconv.Itoa(p.user.uid))
	must(p.t, err)
	client = []string{"/usr/bin/ssh", "-F", "none", "-p", port, "-i", at("mine"), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
		"-o", "UserKnownHostsFile=" + at("known"), "-l", me.Username}
	wait(p.t, "sshd", 20*time.Second, func() string {
		if out, err := exec.Command("nc", "-z", "127.0.0.1", port).CombinedOutput(); err != nil {
			return fmt.Sprintf("%v: %s", err, out)
		}
		return ""
	})
	return client
}

// TestSSHKept moves a client of ssh from one terminal to another, three times, while
// its shell goes on at the server.
func TestSSHKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can keep connections (TCP_REPAIR)")
	}
	p := newPlace(t, root)
	term := p.newTerminal(24, 80)
	j := p.session(term, append(p.sshd(), "-tt", "127.0.0.1", "PS1='$ ' exec sh")...)
	term.expect(`\$ `)
	term.send("x=kept; n=0; says() { n=$((n+1)); echo $n $x $1; }\r")
	term.expect(`\r\n\$ `)
	term.send("says first; tty\r")
	term.expect(`1 kept first\r\n/dev/pts/\d+\r\n\$ `)
	p.checkpoint(j.pid(), p.path("image"))
	term.send("says same\r")
	term.expect(`2 kept same\r\n\$ `)
	for n := range 3 {
		image := p.path("image" + strconv.Itoa(n))
		p.checkpoint(j.pid(), image, "--stop", "--tcp=keep")
		j.gone()
		term = p.newTerminal(24, 80+uint16(n))
		j = p.restartOn(term, j.prog, image, "--tcp=keep")
		term.send("says again; stty size\r")
		term.expect(fmt.Sprintf(`%d kept again\r\n24 %d\r\n\$ `, n+3, 80+n))
	}
	term.send("exit 7\r")
	j.endsWith(7)
}

// TestSSHLost: a client that goes on after a snapshot keeps its session; one that
// comes back is told that the connection is lost, and ends.
func TestSSHLost(t *testing.T) {
	forUsers(t, func(p *place) {
		s := newServer(p.t)
		term := p.newTerminal(24, 80)
		j := p.session(term, append(p.sshd(), "-W", s.listen("tcp", "127.0.0.1:0"), "127.0.0.1")...)
		term.expect("hello")
		term.send("before\r")
		term.expect(`before\r\n(?s:.*)before\r\n`) // the terminal's echo, and the server's
		p.checkpoint(j.pid(), p.path("image"))
		term.send("same\r")
		term.expect(`same\r\n(?s:.*)same\r\n`)
		p.checkpoint(j.pid(), p.path("image2"), "--stop")
		j.gone()
		for _, image := range []string{"image", "image2"} {
			next := p.newTerminal(24, 80)
			j = p.restartOn(next, j.prog, p.path(image))
			next.expect(`Connection reset by peer|Broken pipe`)
			j.endsWith(255)
		}
	})
}
