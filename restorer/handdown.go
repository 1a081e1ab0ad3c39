package restorer

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// What processes share is handed down from one to the next, also through some
// that are not to keep it (treestate.Makers).

// cloneOrphan has maker make one process through another that ends, so that the
// next subreaper, its parent, adopts it.
func (sk *skeleton) cloneOrphan(maker *task.Process, nodes []*node, _ uint64) error {
	n, id := nodes[0], sk.spareID()
	middle, err := sk.standIn(maker, id, n.origin.Flags)
	if err != nil {
		return fmt.Errorf("maker of process %d: %w", n.id, err)
	}
	sk.group[middle] = sk.group[maker]
	if err := sk.cloneRow(middle, nodes, 0); err != nil {
		return err
	}
	return sk.adopting(sk.byID[n.parent], func() error { return sk.endLeader(id, maker) })
}

// spareID is an id that nobody in the tree has: one below the highest, since what
// lies above may be too high for this host.
func (sk *skeleton) spareID() task.ID {
	used := map[task.ID]bool{}
	highest := task.ID(0)
	for _, id := range sk.tree.IDs() {
		used[id] = true
		highest = max(highest, id)
	}
	for _, n := range sk.all {
		used[n.group], used[n.session] = true, true
	}
	const first = 2 // 1 is the init's
	for id := highest; id >= first; id-- {
		if !used[id] {
			return id
		}
	}
	return highest + 1
}

// shed has a process give up what flags of clone(2) name: its memory and signal
// handlers by executing our own program, which is emptied as the builder was.
func (sk *skeleton) shed(p *task.Process, flags uint64) error {
	if flags == 0 {
		return nil
	}
	if apart := flags & (unix.CLONE_FILES | unix.CLONE_FS); apart != 0 {
		if _, err := p.Call(unix.SYS_UNSHARE, apart); err != nil {
			return fmt.Errorf("process %d: give up what it shares: %w", p.ID, err)
		}
	}
	if flags&unix.CLONE_VM == 0 {
		return nil
	}
	if err := keepOverExec(p); err != nil {
		return fmt.Errorf("process %d: %w", p.ID, err)
	}
	if err := p.Exec("/proc/self/exe", InitName); err != nil {
		return fmt.Errorf("process %d: give up its memory: %w", p.ID, err)
	}
	return sk.empty(p)
}

// keepOverExec makes all descriptors of a process stay when it executes a program.
func keepOverExec(p *task.Process) error {
	fds, err := procfs.FDs(int(p.PID))
	if err != nil {
		return err
	}
	var b task.Batch
	for _, fd := range fds {
		b.Add(unix.SYS_FCNTL, fd, unix.F_SETFD, 0)
	}
	return p.Run(&b)
}

// empty leaves nothing in a process that has just executed our program but the
// parasite, where neither is in the way of anything that is to come.
func (r *restart) empty(p *task.Process) error {
	vmas, err := procfs.ReadMaps(int(p.PID))
	if err != nil {
		return err
	}
	layouts := r.layouts()
	if r.vdso != nil {
		layouts = append(layouts, []procfs.VMA{{Start: uint64(r.vdsoAt), End: uint64(r.vdsoAt + r.vdso.Size() + task.PageSize)}})
	}
	if err := p.Infect(vmas, layouts...); err != nil {
		return err
	}
	var b task.Batch
	for i := range vmas {
		if vmas[i].Path != "[vsyscall]" {
			b.Add(unix.SYS_MUNMAP, vmas[i].Start, vmas[i].Len())
		}
	}
	return p.Run(&b)
}
