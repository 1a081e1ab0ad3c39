package integration

import (
	"os/exec"
	"strings"
	"testing"
)

// tmux runs a command of tmux for the server at a socket.
func (p *place) tmux(args ...string) string {
	p.t.Helper()
	cmd := exec.Command("/usr/bin/tmux", append([]string{"-S", p.path("s"), "-f", "/dev/null"}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TERM=xterm", "HOME=" + p.path("home"), "SHELL=/bin/sh"}
	cmd.SysProcAttr = p.user.attr()
	cmd.SysProcAttr.Setsid = true
	out, err := cmd.CombinedOutput()
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
			p.tmux("new-session", "-d", "-x", "80", "-y", "24", "exec bash --norc --noprofile")
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
