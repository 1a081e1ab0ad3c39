package integration

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// TestRandomTree builds trees with state of every kind, chosen by a seed, and
// compares them after a restart. $SUPERVISE_SEED runs a single seed again;
// $SUPERVISE_SEEDS, a duration such as 1h, goes on with new seeds for so long.
func TestRandomTree(t *testing.T) {
	if seed := os.Getenv("SUPERVISE_SEED"); seed != "" {
		randomTree(t, seed)
		return
	}
	const usual = 8
	first, end := int64(1), time.Time{}
	if d, err := time.ParseDuration(os.Getenv("SUPERVISE_SEEDS")); err == nil {
		first, end = time.Now().Unix(), time.Now().Add(d)
	}
	for seed := first; !t.Failed() && (seed < first+usual || time.Now().Before(end)); seed++ {
		randomTree(t, strconv.FormatInt(seed, 10))
	}
}

// randomTree takes a snapshot of the tree of a seed, restarts it, and does so
// again with the restarted one.
func randomTree(t *testing.T, seed string) {
	t.Run(seed, func(t *testing.T) {
		for _, u := range users() {
			t.Run(u.name, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, u)
				prog := one("random").with(seed)
				j := p.start(prog)
				first := j.settle()
				before := first
				for n := range 2 {
					image := p.path("image" + strconv.Itoa(n))
					p.checkpoint(j.pid(), image)
					j.undisturbed(before)
					saved := p.saveFiles()
					j.killTree()
					j.close()
					p.putBack(saved)
					j = p.restart(prog, image)
					j.like(first)
					before = j.settle()
				}
				j.finish(1)
			})
		}
	})
}
