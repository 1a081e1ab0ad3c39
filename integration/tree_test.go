package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// modes are what is done to each program.
var modes = []struct {
	name string
	run  func(p *place, prog program)
}{
	{"continue", goesOn},
	{"kill", comesBack},
	{"stop", stopsAndComesBack},
	{"twice", comesBackTwice},
	{"generations", threeGenerations},
}

// TestTree runs every program, as every user, in every mode.
func TestTree(t *testing.T) {
	for _, prog := range programs {
		t.Run(prog.name, func(t *testing.T) {
			t.Parallel()
			for _, u := range users() {
				if prog.root && u.uid != 0 {
					continue
				}
				t.Run(u.name, func(t *testing.T) {
					for _, m := range modes {
						t.Run(m.name, func(t *testing.T) {
							if why := prog.skip[m.name]; why != "" {
								t.Skip(why)
							}
							t.Parallel()
							m.run(newPlace(t, u), prog)
						})
					}
				})
			}
		})
	}
}

// TestNative runs every program without any snapshot: it must be well by itself.
func TestNative(t *testing.T) {
	for _, prog := range programs {
		t.Run(prog.name, func(t *testing.T) {
			t.Parallel()
			u := users()[len(users())-1]
			if prog.root {
				u = root
			}
			if prog.root && os.Getuid() != 0 {
				t.Skip("needs root")
			}
			j := newPlace(t, u).start(prog)
			j.settle()
			j.finish(1)
		})
	}
}

// pid is the root as an argument.
func (j *job) pid() string { return strconv.Itoa(j.root) }

// goesOn takes a snapshot of a tree that then goes on.
func goesOn(p *place, prog program) {
	j := p.start(prog)
	before := j.settle()
	p.checkpoint(j.pid(), p.path("image"))
	j.undisturbed(before)
	p.checkpoint(j.pid(), p.path("image2"))
	j.undisturbed(before)
	j.finish(1)
}

// undisturbed checks that a snapshot has left no trace in the tree.
func (j *job) undisturbed(before state) {
	j.t.Helper()
	if wrong := unharmed(j.tree()); wrong != "" {
		j.t.Fatalf("after the snapshot: %s", wrong)
	}
	expect(j.t, "after the snapshot", before, j.observe, always)
}

// comesBack kills a tree and restarts it.
func comesBack(p *place, prog program) {
	j := p.start(prog)
	before := j.settle()
	p.checkpoint(j.pid(), p.path("image"))
	saved := p.saveFiles()
	j.killTree()
	j.close()
	p.putBack(saved)
	again := p.restart(prog, p.path("image"))
	again.like(before)
	again.finish(1)
}

// stopsAndComesBack ends a tree with the snapshot and restarts it detached.
func stopsAndComesBack(p *place, prog program) {
	j := p.start(prog)
	before := j.settle()
	p.checkpoint(j.pid(), p.path("image"), "--stop")
	j.gone()
	again := p.restart(prog, p.path("image"), "--detach")
	again.like(before)
	again.finish(1)
}

// gone waits until nothing of the tree is left.
func (j *job) gone() {
	j.t.Helper()
	wait(j.t, "end of the tree after --stop", 20e9, func() string {
		for _, s := range states(descendants(j.cmd.Process.Pid)) {
			return s
		}
		return ""
	})
	j.close()
}

// comesBackTwice restarts one image twice, and then two at a time.
func comesBackTwice(p *place, prog program) {
	j := p.start(prog)
	before := j.settle()
	p.checkpoint(j.pid(), p.path("image"), "--stop")
	saved := p.saveFiles()
	j.gone()
	for n := range 2 {
		p.putBack(saved)
		os.Remove(p.goFile())
		again := p.restart(prog, p.path("image"))
		again.like(before)
		again.finish(n + 1)
	}
	if prog.solo {
		return
	}
	p.putBack(saved)
	os.Remove(p.goFile())
	a := p.restart(prog, p.path("image"))
	b := p.restart(prog, p.path("image"))
	a.like(before)
	b.like(before)
	must(p.t, os.WriteFile(p.goFile(), nil, 0o644))
	b.says("ok", 4)
	a.ended()
	b.ended()
}

// threeGenerations takes snapshots of restarted trees.
func threeGenerations(p *place, prog program) {
	j := p.start(prog)
	before := j.settle()
	for n := range 3 {
		image := filepath.Join(p.dir, "image"+strconv.Itoa(n))
		p.checkpoint(j.pid(), image, "--stop")
		j.gone()
		j = p.restart(prog, image)
		j.like(before)
		if prog.how == all {
			j.settle()
		}
	}
	j.finish(1)
}
