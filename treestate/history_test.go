package treestate

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
)

// world is what clone(2), unshare(2), execve(2) and _exit(2) make of processes.
type world struct {
	procs []*living // in the order of their making
	ids   task.ID
	fresh int // names of things
}

type living struct {
	id     task.ID
	parent *living // nil: outside
	has    [kinds]int
	signal int
	dead   bool
	reaper bool
}

func (w *world) thing() int { w.fresh++; return w.fresh }

// clone makes a process as maker does. The flags are those of things, and CLONE_PARENT.
func (w *world) clone(maker *living, id task.ID, flags uint64, signal int) *living {
	l := &living{id: id, parent: maker, signal: signal}
	for k, sh := range taskstate.Shareable {
		if l.has[k] = w.thing(); flags&sh.Flag != 0 {
			l.has[k] = maker.has[k]
		}
	}
	if flags&unix.CLONE_PARENT != 0 {
		l.parent, l.signal = maker.parent, maker.signal
	}
	w.procs = append(w.procs, l)
	return l
}

// shed is unshare(2) and execve(2).
func (w *world) shed(l *living, flags uint64) {
	for k, sh := range taskstate.Shareable {
		if flags&sh.Flag != 0 {
			l.has[k] = w.thing()
		}
	}
	if flags&unix.CLONE_VM != 0 {
		l.signal = int(unix.SIGCHLD)
	}
}

// exit ends a process; the next reaper above, or the outside, adopts its children.
func (w *world) exit(l *living) {
	l.dead = true
	reaper := l.parent
	for reaper != nil && !reaper.reaper {
		reaper = reaper.parent
	}
	for _, c := range w.procs {
		if c.parent == l {
			c.parent, c.signal = reaper, int(unix.SIGCHLD)
		}
	}
}

// living lists those that live, parents first.
func (w *world) living() (list []*living) {
	var below func(*living)
	below = func(parent *living) {
		for _, l := range w.procs {
			if !l.dead && l.parent == parent {
				list = append(list, l)
				below(l)
			}
		}
	}
	below(nil)
	return list
}

// records are what a snapshot has of the living.
func (w *world) records() (recs []*taskstate.Process) {
	var first [kinds]map[int]task.ID
	for k := range first {
		first[k] = map[int]task.ID{}
	}
	for _, l := range w.living() {
		rec := &taskstate.Process{ID: l.id, Session: 1, ExitSignal: l.signal}
		if l.parent != nil {
			rec.Parent = l.parent.id
		}
		for k, sh := range taskstate.Shareable {
			if id, ok := first[k][l.has[k]]; ok {
				*sh.Of(&rec.Shares) = id
			} else {
				first[k][l.has[k]] = l.id
			}
		}
		recs = append(recs, rec)
	}
	return recs
}

// replay makes the processes of a plan, as the skeleton does.
func replay(plan []Origin, recs []*taskstate.Process) *world {
	signals := map[task.ID]int{}
	parents := map[task.ID]task.ID{}
	for _, rec := range recs {
		signals[rec.ID], parents[rec.ID] = rec.ExitSignal, rec.Parent
	}
	w, made := &world{}, map[task.ID]*living{}
	var grow func(task.ID)
	grow = func(maker task.ID) {
		m := made[maker]
		var mine []Origin
		for _, o := range plan {
			if o.Maker == maker {
				mine = append(mine, o)
			}
		}
		for _, o := range mine {
			if o.Sheds != 0 {
				w.shed(m, o.Sheds)
			}
			switch o.Way {
			case Child:
				made[o.ID] = w.clone(m, o.ID, o.Flags, signals[o.ID])
			case Sibling:
				made[o.ID] = w.clone(m, o.ID, o.Flags|unix.CLONE_PARENT, signals[o.ID])
			case Orphan:
				middle := w.clone(m, -1, o.Flags, 0)
				made[o.ID] = w.clone(middle, o.ID, o.Flags, signals[o.ID])
				if reaper := made[parents[o.ID]]; reaper != nil {
					reaper.reaper = true
					w.exit(middle)
					reaper.reaper = false
				} else {
					w.exit(middle)
				}
			}
		}
		for _, o := range mine {
			grow(o.ID)
		}
		for _, o := range plan {
			if o.ID == maker && o.Last != 0 {
				w.shed(m, o.Last)
			}
		}
	}
	grow(0)
	return w
}

// relation writes down what a snapshot would say, without regard to order.
func relation(recs []*taskstate.Process) string {
	all := map[task.ID]string{}
	for _, rec := range recs {
		all[rec.ID] = fmt.Sprintf("%d of %d signal %d", rec.ID, rec.Parent, rec.ExitSignal)
	}
	for k, sh := range taskstate.Shareable {
		groups := map[task.ID][]task.ID{}
		for _, rec := range recs {
			head := *sh.Of(&rec.Shares)
			if head == 0 {
				head = rec.ID
			}
			groups[head] = append(groups[head], rec.ID)
		}
		for _, group := range groups {
			lowest := group[0]
			for _, id := range group {
				lowest = min(lowest, id)
			}
			for _, id := range group {
				all[id] += fmt.Sprintf(" %d:%d", k, lowest)
			}
		}
	}
	return fmt.Sprint(all) // maps print in order
}

// live lets a tree live for some steps.
func live(r *rand.Rand, steps int, plainly bool) *world {
	w := &world{ids: 1}
	w.clone(&living{}, 1, 0, int(unix.SIGCHLD)).parent = nil
	for range steps {
		l := w.procs[r.IntN(len(w.procs))]
		if l.dead {
			continue
		}
		switch op := r.IntN(10); {
		case op < 6:
			w.bear(r, l, plainly)
		case op < 8:
			flags := []uint64{unix.CLONE_FILES, unix.CLONE_FS, unix.CLONE_FILES | unix.CLONE_FS, executed}
			w.shed(l, flags[r.IntN(len(flags))])
		case op < 9 && !plainly:
			l.reaper = !l.reaper
		case !plainly && l.id != 1:
			w.exit(l)
		}
	}
	return w
}

// bear makes a child or a sibling.
func (w *world) bear(r *rand.Rand, l *living, plainly bool) {
	flags := []uint64{0, 0, unix.CLONE_VM, unix.CLONE_FILES, unix.CLONE_FS, unix.CLONE_FILES | unix.CLONE_FS, unix.CLONE_VM | unix.CLONE_SIGHAND,
		unix.CLONE_VM | unix.CLONE_FS, unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_SIGHAND}[r.IntN(9)]
	if !plainly && l.parent != nil && r.IntN(4) == 0 {
		flags |= unix.CLONE_PARENT
	}
	signal := int(unix.SIGCHLD)
	if r.IntN(6) == 0 {
		signal = 0
	}
	w.ids++
	w.clone(l, w.ids, flags, signal)
}

// TestHistories lets trees live, and makes what has become of them anew. Where nobody ends or
// makes siblings, a way is always found; otherwise nearly always.
func TestHistories(t *testing.T) {
	const trees, mostRefused = 3000, 0.05
	for _, plainly := range []bool{true, false} {
		refused := 0
		for seed := range uint64(trees) {
			w := live(rand.New(rand.NewPCG(seed, 1)), 5+int(seed%40), plainly)
			recs := w.records()
			plan, err := Makers(recs, nil)
			if err != nil {
				if refused++; plainly {
					t.Fatalf("seed %d: %v\n%s", seed, err, relation(recs))
				}
				continue
			}
			if got, want := relation(replay(plan, recs).records()), relation(recs); got != want {
				t.Fatalf("seed %d, plainly %v: %s\ngives %s\nwant  %s", seed, plainly, text(plan), got, want)
			}
		}
		if t.Logf("plainly %v: %d of %d refused", plainly, refused, trees); float64(refused) > mostRefused*trees {
			t.Errorf("%d of %d trees refused", refused, trees)
		}
	}
}
