package tracer

import (
	"runtime"

	"golang.org/x/sync/errgroup"
)

// each calls look for 0 to n-1, on all CPUs at once: while a tree is frozen,
// nothing else is to be done there. look must not use ptrace, which answers
// one thread only.
func each(n int, look func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		g.Go(func() error { return look(i) })
	}
	return g.Wait()
}
