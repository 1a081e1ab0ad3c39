package integration

import (
	"os"
	"testing"
)

// netOf is the network namespace of a process.
func netOf(t testing.TB, pid int) string {
	t.Helper()
	link, err := os.Readlink(procPath(pid, "ns/net"))
	must(t, err)
	return link
}

// TestPrivateNet: a tree gets a network namespace of its own, keeps one over
// snapshots and restarts, and leaves it when told to.
func TestPrivateNet(t *testing.T) {
	for _, name := range []string{"unixpairs", "unixnames", "unixmsgs"} {
		t.Run(name, func(t *testing.T) {
			forUsers(t, func(p *place) {
				ours := netOf(p.t, os.Getpid())
				j := p.start(one(name))
				before := j.settle()
				for _, gen := range []struct {
					flag    string
					private bool
				}{{"--net=private", true}, {"--net=as-before", true}, {"--net=private", true}, {"--net=host", false}, {"--net=as-before", false}} {
					image := p.path("image" + gen.flag + netOf(p.t, j.root)[4:])
					p.checkpoint(j.pid(), image, "--stop")
					j.gone()
					j = p.restart(j.prog, image, gen.flag)
					j.like(before)
					if private := netOf(p.t, j.root) != ours; private != gen.private {
						p.t.Errorf("restart %s: in a private namespace: %v", gen.flag, private)
					}
				}
				j.finish(1)
			})
		})
	}
}
