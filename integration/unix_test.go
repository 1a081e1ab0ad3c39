package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// TestFailedRestart: one that fails late takes the files of sockets away again
// that it has made, and the next one succeeds.
func TestFailedRestart(t *testing.T) {
	forUsers(t, func(p *place) {
		prog := one("unixnames").alone()
		j := p.start(prog)
		before := j.settle()
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		old := p.sockets()
		if len(old) == 0 {
			t.Fatal("the program has left no sockets")
		}
		for _, fault := range []string{"fail:skeleton", "fail:release"} {
			if r := p.supervise([]string{"SUPERVISE_FAULT=" + fault}, "restart", p.path("image")); r.code == 0 {
				t.Errorf("%s: it does not fail", fault)
			}
			for path, ino := range p.sockets() {
				if old[path] != ino {
					t.Errorf("%s: left behind: %s", fault, path)
				}
			}
		}
		again := p.restart(prog, p.path("image"))
		again.like(before)
		again.finish(1)
	})
}

// sockets are the files of sockets in the place, with their inodes.
func (p *place) sockets() map[string]uint64 {
	list := map[string]uint64{}
	must(p.t, filepath.WalkDir(p.path(""), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type() != fs.ModeSocket {
			return err
		}
		st, err := e.Info()
		if err == nil {
			list[path] = st.Sys().(*syscall.Stat_t).Ino
		}
		return err
	}))
	return list
}
