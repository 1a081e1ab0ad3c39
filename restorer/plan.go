package restorer

import (
	"fmt"
	"os"

	"supervise/internal/procfs"
	"supervise/memimg"
	"supervise/memstate"
	"supervise/taskstate"
	"supervise/treestate"
)

// plan reads the image and finds every reason why it cannot be restarted here.
func (r *restart) plan() error {
	var err error
	if r.im, err = memimg.Open(r.opts.Image); err != nil {
		return err
	}
	if r.tree, err = treestate.Decode(r.im.Records()); err != nil {
		return fmt.Errorf("%w: %w", memimg.ErrDamaged, err)
	}
	if r.opts.Before != nil {
		if r.changes, err = r.opts.Before(r.tree.Blobs); err != nil {
			return err
		}
	}
	if err := r.applyPolicy(); err != nil {
		return err
	}
	if r.changes != nil { // rules are about the names in the image
		if err := r.tree.Translate(&r.changes.Values); err != nil {
			return fileProblem(err)
		}
	}
	if err := r.chooseObjects(); err != nil {
		return err
	}
	if err := r.placeGiven(); err != nil {
		return err
	}
	if err := r.planVirtual(); err != nil {
		return err
	}
	if err := r.checkHost(); err != nil {
		return err
	}
	if r.ids, err = r.planIDs(); err != nil {
		return err
	}
	if err := r.planTranslation(); err != nil {
		return err
	}
	r.planIPC()
	r.ids.net = r.opts.Net == NetPrivate || r.opts.Net != NetHost && r.tree.Net.IsPrivate()
	if err := r.checkUsers(); err != nil || r.opts.Found == nil {
		return err
	}
	found, err := r.tree.Found(r.opts.Most)
	if err == nil {
		r.opts.Found(found)
	}
	return err
}

// checkHost compares what the image needs with what this host has.
func (r *restart) checkHost() error {
	var err error
	if r.vdso, err = r.tree.VDSO.Match(); err != nil {
		return &HostError{Why: "another kernel", Err: err, Hint: "restart it under the kernel it was made on: " + r.im.Manifest().Host.Kernel}
	}
	if r.hostVVar, err = memstate.HostVVar(); err != nil {
		return err
	}
	if r.opts.Force {
		return nil
	}
	var files memstate.FileCheck
	for i := range r.tree.Processes {
		if r.tree.Processes[i].Shares.Memory == 0 {
			files.Add(&r.tree.Processes[i].Mem)
		}
	}
	if err := files.Err(); err != nil {
		return &HostError{Why: "a file that the tree maps is not as it was", Err: err, Hint: "put the file back, or use --force if it will do as it is"}
	}
	return nil
}

// checkUsers refuses a tree of other users when we cannot become them.
func (r *restart) checkUsers() error {
	if !r.ids.user && !r.ids.limited {
		return nil
	}
	st, err := procfs.ReadStatus(os.Getpid())
	if err != nil {
		return err
	}
	if r.tree.Seccomped() {
		return &HostError{Why: "processes have seccomp filters, which only root can install for them", Hint: "restart it as root"}
	}
	own := taskstate.CredsOf(&st)
	for i := range r.tree.Processes {
		p := &r.tree.Processes[i]
		all := []*taskstate.Creds{&p.Creds}
		for _, th := range p.Threads {
			if th.Creds != nil {
				all = append(all, th.Creds)
			}
		}
		for _, c := range all {
			if !c.SameUser(&own) {
				return &HostError{
					Why:  fmt.Sprintf("process %d ran as uid %v, gid %v, groups %v", p.ID, c.UIDs, c.GIDs, c.Groups),
					Hint: "restart it as that user, or as root",
				}
			}
		}
	}
	return r.checkIPC(own.UIDs[1], own.GIDs[1])
}

// layouts gives every process's layout in the form that FindHole takes.
func (r *restart) layouts() [][]procfs.VMA {
	var all [][]procfs.VMA
	for i := range r.tree.Processes {
		mem := &r.tree.Processes[i].Mem
		kernels := mem.Kernels()
		layout := []procfs.VMA{{Start: uint64(kernels.Start), End: uint64(kernels.End)}}
		for j := range mem.VMAs {
			layout = append(layout, procfs.VMA{Start: uint64(mem.VMAs[j].Start), End: uint64(mem.VMAs[j].End)})
		}
		all = append(all, layout)
	}
	return all
}
