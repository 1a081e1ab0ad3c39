package integration

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSharedMemoryGone removes what shm_open(3) has made, as a reboot does.
func TestSharedMemoryGone(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, u)
			prog := one("shm")
			j := p.start(prog)
			before := j.settle()
			p.checkpoint(j.pid(), p.path("image"), "--stop")
			files, err := filepath.Glob("/dev/shm/test-" + j.pid() + "-*")
			must(t, err)
			if len(files) != 2 {
				t.Fatalf("files %v", files)
			}
			j.gone()
			for _, f := range files {
				must(t, os.Remove(f))
			}
			again := p.restart(prog, p.path("image"))
			again.like(before)
			again.finish(1)
		})
	}
}
