package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// tmuxCommand is a command of tmux for the server at a socket.
func (p *place) tmuxCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("/usr/bin/tmux", append([]string{"-S", p.path("s"), "-f", "/dev/null"}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TERM=xterm", "HOME=" + p.path("home"), "SHELL=/bin/sh"}
	cmd.SysProcAttr = p.user.attr()
	cmd.SysProcAttr.Setsid = true
	return cmd
}

// newTmux starts a server with a shell in it. It ends with the test, also with one that fails.
func (p *place) newTmux(rows string) {
	p.t.Helper()
	p.t.Cleanup(func() { _ = p.tmuxCommand("kill-server").Run() })
	p.tmux("new-session", "-d", "-x", "80", "-y", rows, "exec bash --norc --noprofile")
}

// tmux runs a command of tmux.
func (p *place) tmux(args ...string) string {
	p.t.Helper()
	out, err := p.tmuxCommand(args...).CombinedOutput()
	if err != nil {
		p.t.Errorf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// shows waits for a text on the screen.
func (p *place) shows(text string) {
	p.t.Helper()
	wait(p.t, "text on the screen of tmux", 20e9, func() string {
		if screen := p.tmux("capture-pane", "-p"); !strings.Contains(screen, text) {
			return screen
		}
		return ""
	})
}

// TestTmux ends a tmux server with a shell inside, brings it back, and goes on
// where the shell was, from new clients.
func TestTmux(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, u)
			p.newTmux("24")
			p.tmux("send-keys", "unset HISTFILE; X=remember; echo ${X}ed", "Enter")
			p.shows("\nremembered")
			for _, image := range []string{"image", "image2"} {
				server := strings.TrimSpace(p.tmux("display", "-p", "#{pid}"))
				if image == "image2" { // in a pid namespace, tmux tells what it sees there
					server = strings.TrimSpace(slurp(p.path("pid")))
				}
				p.checkpoint(server, p.path(image), "--stop")
				got := p.supervise(nil, "restart", p.path(image), "--detach", "--pid-file", p.path("pid"))
				if got.code != 0 {
					t.Fatalf("restart: exit code %d: %s", got.code, got.err)
				}
				p.tmux("send-keys", "clear; echo $X by "+image, "Enter")
				p.shows("remember by " + image)
			}
			p.tmux("kill-server")
		})
	}
}

// attachTmux attaches a new terminal to the session.
func (p *place) attachTmux() (*terminal, *holder) {
	p.t.Helper()
	term := p.newTerminal(24, 80)
	h := p.hold(launch{flags: []string{"-t"}, tty: term.slave, argv: []string{"/usr/bin/tmux", "-S", p.path("s"), "-f", "/dev/null", "attach"}})
	return term, h
}

// TestTmuxAttach: who attaches to a session from another terminal, after a
// restart of the server, sees the screen as it was, with an editor in one
// window and a shell in the other, and goes on; three generations deep.
func TestTmuxAttach(t *testing.T) {
	forUsers(t, func(p *place) {
		p.newTmux("23")
		p.tmux("send-keys", "unset HISTFILE; X=remember; echo ${X}ed", "Enter")
		p.shows("\nremembered")
		p.tmux("set", "-g", "assume-paste-time", "0") // a prefix that follows text at once is one
		p.tmux("new-window", "-c", p.path("work"), "exec vim.tiny -u NONE -N text")
		p.shows("[New]")
		p.tmux("send-keys", "igeneration 0", "Enter")
		p.shows("generation 0")
		server := strings.TrimSpace(p.tmux("display", "-p", "#{pid}"))
		text := "generation 0\n"
		for n := 1; n <= 3; n++ {
			image, line := p.path(fmt.Sprint("image", n)), fmt.Sprint("generation ", n)
			before := p.tmux("capture-pane", "-p", "-e")
			p.checkpoint(server, image, "--stop")
			server = p.restartTmux(image)
			term, client := p.attachTmux()
			term.expect(fmt.Sprint("generation ", n-1))
			if after := p.tmux("capture-pane", "-p", "-e"); after != before {
				p.t.Errorf("the screen was\n%s\nand is\n%s", before, after)
			}
			term.send(line + "\r")
			term.expect(line)
			text += line + "\n"
			term.send("\x020") // the other window
			term.expect("remembered")
			term.send("echo $X by " + line + "\r")
			term.expect("remember by " + line)
			term.send("\x021")
			term.expect(line)
			term.send("\x02d")
			client.nothingLeft("detached client")
		}
		p.tmuxAttached(server)
		term, _ := p.attachTmux()
		term.expect("generation 3")
		term.send("end\x1b:wq\r")
		term.expect("remember by generation 3")
		if got := slurp(p.path("work/text")); got != text+"end\n" {
			p.t.Errorf("the file has %q", got)
		}
		p.tmux("kill-server")
		term.expect("server exited")
	})
}

// restartTmux brings the server back.
func (p *place) restartTmux(image string) (server string) {
	p.t.Helper()
	if got := p.supervise(nil, "restart", image, "--detach", "--pid-file", p.path("pid")); got.code != 0 {
		p.t.Fatalf("restart: exit code %d: %s", got.code, got.err)
	}
	return strings.TrimSpace(slurp(p.path("pid")))
}

// tmuxAttached takes a snapshot while a client is attached, whose terminal the
// server has open: a rule says that it goes without.
func (p *place) tmuxAttached(server string) {
	p.t.Helper()
	term, client := p.attachTmux()
	term.expect("generation 3")
	p.fails(3, "it is a terminal outside the tree", "checkpoint", server, "--image", p.path("attached"))
	must(p.t, os.WriteFile(p.path("rules"), []byte("ignore kind=terminal-outside\n"), 0o644))
	p.checkpoint(server, p.path("attached"), "--stop", "--policy", p.path("rules"))
	client.nothingLeft("client of the old server")
	p.restartTmux(p.path("attached"))
}
