package restorer

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/taskstate"
	"supervise/treestate"
)

// skeleton makes every process, bare, with its ids, and puts it into its
// session and group.
func (r *restart) skeleton() error {
	sk, err := r.newSkeleton()
	if err != nil {
		return err
	}
	if err := sk.grow(sk.builder, sk.top, sk.ids.topFlags(), sk.outside.session); err != nil {
		return err
	}
	if err := sk.groups(); err != nil {
		return err
	}
	for i := range r.tree.Processes {
		r.procs = append(r.procs, r.known[r.tree.Processes[i].ID])
	}
	if err := sk.zombies(); err != nil {
		return err
	}
	return r.findHolders()
}

// node is a process to be made.
type node struct {
	id, group, session task.ID
	parent             task.ID
	foreground         task.ID // group in the foreground of its terminal, or 0
	exitSignal         int
	tty                int
	origin             treestate.Origin
	makes              []*node // in this order; mostly its children
	maker              *node   // or nil: the builder
	outside            bool    // it makes some that stay in the group of the restart
	held               *task.Process
}

// skeleton is the tree of nodes.
type skeleton struct {
	*restart
	top     []*node // those that the builder makes
	all     []*node // makers first
	byID    map[task.ID]*node
	outside struct{ group, session task.ID } // ids of the root that lead out of the tree, or 0
	ended   map[task.ID]bool                 // sessions whose leaders have died
	group   map[*task.Process]task.ID        // that each is in so far
}

func (r *restart) newSkeleton() (*skeleton, error) {
	sk := &skeleton{restart: r, byID: map[task.ID]*node{}, ended: map[task.ID]bool{}, group: map[*task.Process]task.ID{}}
	origins, err := r.tree.Makers()
	if err != nil {
		return nil, err
	}
	nodes := map[task.ID]*node{}
	for i := range r.tree.Processes {
		p := &r.tree.Processes[i]
		nodes[p.ID] = &node{id: p.ID, parent: p.Parent, group: p.Group, session: p.Session, exitSignal: p.ExitSignal,
			tty: p.TTY, foreground: p.TPGID}
	}
	for i := range r.tree.Zombies {
		z := &r.tree.Zombies[i]
		nodes[z.ID] = &node{id: z.ID, parent: z.Parent, group: z.Group, session: z.Session, exitSignal: z.ExitSignal}
	}
	for _, o := range origins {
		nodes[o.ID].origin = o
		sk.add(nodes[o.ID])
	}
	root := sk.byID[r.tree.Processes[0].ID]
	if sk.byID[root.session] == nil || r.foreignTerminal(root) {
		sk.outside.session = root.session
	}
	if sk.byID[root.group] == nil {
		sk.outside.group = root.group
	}
	sk.group[sk.builder] = sk.outside.group
	for _, n := range sk.all {
		for m := n.maker; n.group == sk.outside.group && m != nil && !m.outside; m = m.maker {
			m.outside = true
		}
	}
	return sk, nil
}

func (sk *skeleton) add(n *node) {
	sk.all = append(sk.all, n)
	sk.byID[n.id] = n
	m := sk.byID[n.origin.Maker]
	if m == nil {
		sk.top = append(sk.top, n)
		return
	}
	n.maker = m
	m.makes = append(m.makes, n)
}

// leads tells whether n is to lead a session of its own. The leader of a
// session whose terminal is outside the tree joins the session of the
// restart instead: a terminal belongs to one session, and that is ours.
func (sk *skeleton) leads(n *node) bool {
	return n.session == n.id && n.session != sk.outside.session
}

// topFlags make the builder's processes children of ours, where they are not
// children of the namespace's init.
func (ids *idsPlan) topFlags() uint64 {
	if ids.namespace {
		return 0
	}
	return unix.CLONE_PARENT
}

// grow has maker, which is in the given session, make those of nodes that are
// not there yet, and them what they make in turn.
func (sk *skeleton) grow(maker *task.Process, nodes []*node, flags uint64, session task.ID) error {
	var plain []*node
	for _, n := range nodes {
		if n.held == nil && (sk.leads(n) || n.session == session) {
			plain = append(plain, n)
		}
	}
	if err := sk.clone(maker, plain, flags); err != nil {
		return err
	}
	for _, n := range plain {
		if err := sk.raise(n, session); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if n.held != nil {
			continue
		}
		if err := sk.growOrphan(maker, n, flags); err != nil {
			return err
		}
	}
	return nil
}

// raise has n, which was born in the given session, begin its own and its
// group, and make what it makes. What it makes in the old session comes
// before setsid, all else after setpgid, so that it need not move.
func (sk *skeleton) raise(n *node, session task.ID) error {
	switch {
	case sk.leads(n):
		var early []*node
		for _, c := range n.makes {
			if c.session == session && !sk.leads(c) {
				early = append(early, c)
			}
		}
		if err := sk.grow(n.held, early, 0, session); err != nil {
			return err
		}
		if err := sk.lead(n); err != nil {
			return err
		}
	case n.group == n.id && !n.outside:
		if err := sk.leadGroup(n); err != nil {
			return err
		}
	}
	if err := sk.grow(n.held, n.makes, 0, n.session); err != nil {
		return err
	}
	return sk.shed(n.held, n.origin.Last)
}

// growOrphan makes n in a session whose leader has died: a process with the
// leader's id begins the session, makes n, and dies. Then n is a child of the
// next reaper above: of parent, if that is one, else of the init or of us.
func (sk *skeleton) growOrphan(parent *task.Process, n *node, flags uint64) error {
	if err := sk.shed(parent, n.origin.Sheds); err != nil {
		return err
	}
	n.origin.Sheds = 0
	mates := sk.mates(n)
	for _, c := range mates {
		flags |= c.origin.Flags // what they share comes through the leader
	}
	leader, err := sk.standIn(parent, n.session, flags)
	if err != nil {
		return fmt.Errorf("leader of session %d: %w", n.session, err)
	}
	if _, err := leader.Call(unix.SYS_SETSID); err != nil {
		return fmt.Errorf("session %d: %w", n.session, err)
	}
	sk.ended[n.session], sk.group[leader] = true, n.session
	if err := sk.grow(leader, mates, 0, n.session); err != nil {
		return err
	}
	return sk.adopting(sk.byHeld(parent), func() error { return sk.endLeader(n.session, parent) })
}

// adopting runs fn, in which somebody dies whose children are to become those of
// parent, or where that is nil of the init, or of us. Nobody else is a subreaper then.
func (sk *skeleton) adopting(parent *node, fn func() error) error {
	if parent == nil {
		return fn()
	}
	if _, err := parent.held.Call(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	_, err := parent.held.Call(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 0)
	return err
}

// mates are n and its siblings of the same dead session that their parent makes.
func (sk *skeleton) mates(n *node) []*node {
	siblings := sk.top
	if p := sk.byID[n.parent]; p != nil {
		siblings = p.makes
	}
	var mates []*node
	for _, c := range siblings {
		if c.session == n.session && c.parent == n.parent && c.held == nil && !sk.leads(c) {
			mates = append(mates, c)
		}
	}
	return mates
}

// byHeld tells which node a process is, or nil for the builder.
func (sk *skeleton) byHeld(p *task.Process) *node {
	if p == sk.builder {
		return nil
	}
	return sk.byID[p.ID]
}

// endLeader ends a stand-in; a parent in the tree reaps it.
func (sk *skeleton) endLeader(id task.ID, parent *task.Process) error {
	if err := sk.known[id].Exit(0); err != nil {
		return err
	}
	delete(sk.known, id)
	if sk.byHeld(parent) == nil {
		return nil // its parent is the init, or us
	}
	_, err := parent.Call(unix.SYS_WAIT4, id, 0, unix.WALL, 0)
	return err
}

// lead makes n the leader of a session, with its controlling terminal: the
// first terminal that a leader without one opens (man 2 open, O_NOCTTY).
func (sk *skeleton) lead(n *node) error {
	if _, err := n.held.Call(unix.SYS_SETSID); err != nil {
		return fmt.Errorf("session %d: %w", n.id, err)
	}
	sk.group[n.held] = n.id
	if n.tty == 0 || sk.foreignTerminal(n) {
		return nil
	}
	name := fmt.Sprintf("/dev/pts/%d", ptsIndex(n.tty))
	fd, err := n.held.Call(unix.SYS_OPEN, name, unix.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("controlling terminal of session %d: %s: %w", n.id, name, err)
	}
	_, err = n.held.Call(unix.SYS_CLOSE, fd)
	return err
}

// clone has maker make nodes. What it makes in a row takes one batch.
func (sk *skeleton) clone(maker *task.Process, nodes []*node, flags uint64) error {
	for len(nodes) > 0 {
		if err := sk.shed(maker, nodes[0].origin.Sheds); err != nil {
			return err
		}
		row := 1
		for nodes[0].origin.Way != treestate.Orphan && row < len(nodes) && nodes[row].origin.Way != treestate.Orphan && nodes[row].origin.Sheds == 0 {
			row++
		}
		make := sk.cloneRow
		if nodes[0].origin.Way == treestate.Orphan {
			make = sk.cloneOrphan
		}
		if err := make(maker, nodes[:row], flags); err != nil {
			return err
		}
		nodes = nodes[row:]
	}
	return nil
}

func (sk *skeleton) cloneRow(maker *task.Process, nodes []*node, flags uint64) error {
	births := make([]task.Birth, len(nodes))
	for i, n := range nodes {
		births[i] = birth(flags|n.flags(), n.exitSignal, n.id)
	}
	made, err := maker.CloneAll(births)
	for i, p := range made {
		if p != nil {
			nodes[i].held, sk.known[nodes[i].id], sk.group[p] = p, p, sk.group[maker]
		}
	}
	return err
}

// flags are those of clone(2).
func (n *node) flags() uint64 {
	if n.origin.Way == treestate.Sibling {
		return n.origin.Flags | unix.CLONE_PARENT
	}
	return n.origin.Flags
}

// standIn has parent make a process that is none of the tree's.
func (sk *skeleton) standIn(parent *task.Process, id task.ID, flags uint64) (*task.Process, error) {
	made, err := parent.CloneAll([]task.Birth{birth(flags, 0, id)})
	if err != nil {
		return nil, err
	}
	sk.known[id] = made[0]
	return made[0], nil
}

func birth(flags uint64, exitSignal int, id task.ID) task.Birth {
	if flags&unix.CLONE_PARENT != 0 {
		exitSignal = 0 // the kernel takes the parent's (Linux kernel/fork.c:copy_process)
	}
	return task.Birth{Flags: flags, ExitSignal: exitSignal, ID: id}
}

// zombies lets those die that were dead.
func (sk *skeleton) zombies() error {
	for i := range sk.tree.Zombies {
		z := &sk.tree.Zombies[i]
		if _, err := sk.known[z.ID].Call(unix.SYS_PRCTL, unix.PR_SET_NAME, z.Comm); err != nil {
			return err
		}
		if err := z.Die(sk.known[z.ID]); err != nil {
			return err
		}
		delete(sk.known, z.ID)
		if err := sk.forgetSIGCHLD(z.Parent); err != nil {
			return err
		}
	}
	return nil
}

// forgetSIGCHLD takes back what the kernel told a parent about a child that
// died or stopped under our hands: it was told so once already.
func (r *restart) forgetSIGCHLD(parent task.ID) error {
	p := r.known[parent]
	if p == nil {
		return nil
	}
	return taskstate.DropSignal(p, unix.SIGCHLD)
}

// stopStopped stops the processes that were stopped by job control. What
// their parents had seen of it before, they see now.
func (r *restart) stopStopped() error {
	for i := range r.tree.Processes {
		rec := &r.tree.Processes[i]
		if rec.Stopped == 0 {
			continue
		}
		if err := r.procs[i].StopGroup(); err != nil {
			return err
		}
		parent := r.known[rec.Parent]
		if parent == nil {
			continue
		}
		if !rec.StopUnseen {
			if err := taskstate.SeeStop(parent, rec.ID); err != nil {
				return err
			}
		}
		if err := r.forgetSIGCHLD(rec.Parent); err != nil {
			return err
		}
	}
	return nil
}
