package integration

import (
	"os"
	"testing"
)

// TestIDs: where a tree gets its ids is as it was told to restart, or it is refused.
func TestIDs(t *testing.T) {
	forUsers(t, func(p *place) {
		space := func(pid int) string {
			link, err := os.Readlink(procPath(pid, "ns/pid"))
			must(t, err)
			return link
		}
		ours := space(os.Getpid())
		j := p.start(one("ids"))
		before, old := j.settle(), j.root
		image := p.path("image")
		p.checkpoint(j.pid(), image)
		if p.user.uid == 0 {
			p.fails(5, "in this pid namespace: taken: ", "restart", image, "--ids=keep", "--detach")
		}
		j.killTree()
		j.close()
		if p.user.uid != 0 {
			p.fails(5, "only CAP_SYS_ADMIN may choose ids here", "restart", image, "--ids=keep", "--detach")
		}
		for _, how := range []string{"keep", "namespace", "auto"} {
			if how == "keep" && p.user.uid != 0 {
				continue
			}
			j = p.restart(j.prog, image, "--ids="+how)
			j.like(before)
			own := how == "namespace" || p.user.uid != 0
			if got := space(j.root) != ours; got != own || j.root == old == own {
				t.Errorf("--ids=%s: pid %d, was %d, in a namespace of its own: %v", how, j.root, old, got)
			}
			j.killTree()
			j.close()
		}
	})
}
