package integration

import (
	"os"
	"syscall"
	"testing"
)

// TestHoles saves a file with a name that is nearly all holes, next to one
// without. A restart brings it back, whatever its name leads to by then, and
// neither the image nor the file takes the space.
func TestHoles(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, u)
			prog := one("holes")
			j := p.start(prog)
			before := j.settle()
			p.checkpoint(j.pid(), p.path("image"), "--save-files", "named")
			j.undisturbed(before)
			if size := diskUse(t, p.path("image")); size > 4<<20 {
				t.Errorf("the image takes %d bytes", size)
			}
			j.killTree()
			j.close()
			must(t, os.Remove(p.path("work/named")))
			must(t, os.WriteFile(p.path("work/named"), []byte("another"), 0o666))
			must(t, os.Chown(p.path("work/named"), u.uid, u.uid))
			again := p.restart(prog, p.path("image"))
			again.like(before)
			again.finish(1)
		})
	}
}

// diskUse is the space that the files in a directory take.
func diskUse(t *testing.T, dir string) (size int64) {
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		size += info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	return size
}
