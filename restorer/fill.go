package restorer

import (
	"fmt"

	"supervise/internal/task"
	"supervise/memimg"
	"supervise/memstate"
	"supervise/taskstate"
	"supervise/treestate"
)

// openFiles puts every process's descriptors at their numbers.
func (r *restart) openFiles() error {
	for i, p := range r.holders {
		if r.sharesFiles(i) {
			continue
		}
		if err := r.files.OpenOwn(i, p); err != nil {
			return err
		}
	}
	return nil
}

// fill makes all mappings, reads the pages into them, and completes what
// needs both memory and descriptors.
func (r *restart) fill() error {
	if err := r.makeIPC(); err != nil {
		return err
	}
	var fills []memimg.Fill
	for i, p := range r.procs {
		mem := &r.tree.Processes[i].Mem
		if r.tree.Processes[i].Shares.Memory != 0 {
			continue
		}
		if err := mem.Map(p, r.surroundings()); err != nil {
			return fmt.Errorf("process %d: %w", p.ID, err)
		}
		fills = append(fills, mem.Fill(p))
	}
	if err := r.im.ReadPages(fills, r.progress()); err != nil {
		return err
	}
	if err := r.checkReturns(); err != nil {
		return err
	}
	for i, p := range r.procs {
		if r.tree.Processes[i].Shares.Memory != 0 {
			continue
		}
		if err := r.changeEnvironment(i, p); err != nil {
			return fmt.Errorf("process %d: %w", p.ID, err)
		}
		if err := r.tree.Processes[i].Mem.Finish(p, r.surroundings()); err != nil {
			return fmt.Errorf("process %d: %w", p.ID, err)
		}
	}
	for i, p := range r.holders {
		if r.sharesFiles(i) {
			continue
		}
		if err := r.files.Link(i, p); err != nil {
			return fmt.Errorf("process %d: %w", p.ID, err)
		}
	}
	return r.objects.Finish(r.builder)
}

// changeEnvironment does what plugins want.
func (r *restart) changeEnvironment(i int, p *task.Process) error {
	if r.changes == nil {
		return nil
	}
	mem := &r.tree.Processes[i].Mem
	return mem.SetEnvironment(p, r.changes.Environment, r.im.Extents(mem.ID))
}

// surroundings are what the memory of every process is made in.
func (r *restart) surroundings() memstate.Surroundings {
	return memstate.Surroundings{Objects: r.objects, VDSO: r.vdso, VDSOAt: r.vdsoAt, HostVVar: r.hostVVar}
}

// checkReturns refuses a tree in which a thread would return into the middle of
// another kernel's vDSO.
func (r *restart) checkReturns() error {
	for i, p := range r.procs {
		rec := &r.tree.Processes[i]
		for j := range rec.Threads {
			th := &rec.Threads[j]
			if th.Exited {
				continue
			}
			where, err := whereabouts(rec, th)
			if err != nil {
				return fmt.Errorf("thread %d: %w", th.ID, err)
			}
			inside, err := r.memoryOf(rec).Returns(p, r.vdso, where)
			if err != nil {
				return fmt.Errorf("process %d: %w", p.ID, err)
			}
			if inside {
				return &HostError{
					Why:  fmt.Sprintf("another kernel: thread %d returns into the vDSO of the old one, from the handler of a signal", th.ID),
					Hint: "restart it under the kernel it was made on (" + r.im.Manifest().Host.Kernel + "), or take another snapshot there",
				}
			}
		}
	}
	return nil
}

// memoryOf is the address space of a process, be it another's.
func (r *restart) memoryOf(rec *treestate.Process) *memstate.Space {
	if rec.Shares.Memory == 0 {
		return &rec.Mem
	}
	for i := range r.tree.Processes {
		if owner := &r.tree.Processes[i]; owner.ID == rec.Shares.Memory {
			return &owner.Mem
		}
	}
	return &rec.Mem
}

// whereabouts tells where a thread goes on, and where its handlers run.
func whereabouts(rec *treestate.Process, th *taskstate.Thread) (memstate.Thread, error) {
	regs, err := th.Registers.Decode()
	return memstate.Thread{
		PC: regs.PC(), SP: regs.SP(),
		AltStack: memstate.Range{Start: th.AltStack.SP, End: th.AltStack.SP + task.Addr(th.AltStack.Size)},
		Plain:    rec.PlainHandlers() || rec.Shares.Memory != 0,
	}, err
}

// threads makes the threads, and gives processes and threads their own state.
// Stops come in between: a stop takes all threads, and what it tells a parent
// must be gone before the parent gets its own pending signals.
func (r *restart) threads() error {
	for i, p := range r.holders {
		if r.sharesFiles(i) {
			continue
		}
		if err := r.files.CloseRest(i, p); err != nil {
			return fmt.Errorf("process %d: %w", p.ID, err)
		}
	}
	for i, p := range r.procs {
		if err := r.ipc.Undo(p); err != nil {
			return err
		}
		if err := r.makeThreads(i, p); err != nil {
			return fmt.Errorf("process %d: %w", p.ID, err)
		}
	}
	if err := r.finishIPC(); err != nil {
		return err
	}
	if err := r.objects.Publish(r.builder); err != nil {
		return err
	}
	if err := r.arm(); err != nil {
		return err
	}
	if err := r.stopStopped(); err != nil {
		return err
	}
	for i, p := range r.procs {
		if err := r.tree.Processes[i].Restore(p, &r.base); err != nil {
			return err
		}
	}
	return nil
}

// arm makes what tells the tree of others' doing. The builder must have closed its own by now,
// so that nothing happens to them any more that is not the program's doing.
func (r *restart) arm() error {
	if err := r.files.CloseRest(-1, r.builder, r.ids.keep()...); err != nil {
		return err
	}
	for i, p := range r.holders {
		if err := r.files.Arm(i, p); err != nil {
			return fmt.Errorf("process %d: %w", p.ID, err)
		}
	}
	return nil
}
