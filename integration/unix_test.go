package integration

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestEmptyMessages: what the first snapshot has seen of a queue, the kernel
// hides from the second. That one is refused, and the program gets all.
func TestEmptyMessages(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("unixempty"))
		before := j.settle()
		p.checkpoint(j.pid(), p.path("image"))
		j.undisturbed(before)
		got := p.supervise(nil, "checkpoint", j.pid(), "--image", p.path("image2"))
		if got.code != 3 || !strings.Contains(got.err, "4 empty messages wait in it") {
			t.Errorf("exit code %d: %s", got.code, got.err)
		}
		p.nothingIn("image2")
		j.undisturbed(before)
		j.finish(1)
	})
}

// TestOutsideSocket: a connection out of the tree ends with a restart; as standard
// output it becomes that of the restart.
func TestOutsideSocket(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("unixoutside"))
		before := j.settle()
		var writer, holder string
		for _, pid := range j.tree() {
			if to, _ := os.Readlink(procPath(pid, "fd/1")); strings.HasPrefix(to, "socket:") {
				writer = strconv.Itoa(pid)
			}
			if _, err := os.Readlink(procPath(pid, "fd/9")); err == nil {
				holder = strconv.Itoa(pid)
			}
		}
		p.checkpoint(holder, p.path("holder"))
		p.checkpoint(writer, p.path("writer"))
		j.undisturbed(before)
		j.finish(1)
		if got := p.supervise(nil, "restart", p.path("writer")); got.code != 0 || got.out != "through" {
			t.Errorf("restart: exit code %d, output %q: %s", got.code, got.out, got.err)
		}
		if got := p.supervise(nil, "restart", p.path("holder")); got.code != 0 {
			t.Errorf("restart: exit code %d: %s", got.code, got.err)
		}
	})
}
