package restorer

import (
	"errors"

	"supervise/fdstate"
	"supervise/memstate"
	"supervise/netstate"
)

// applyPolicy changes what the image says about descriptors to what the policy
// says, and leaves saved files alone that nothing refers to then.
func (r *restart) applyPolicy() error {
	kinds := netstate.WithFiles()
	rules := fdstate.Rules{Policy: r.opts.Policy, Job: r.im.Manifest().Summary.Job, Mapped: map[uint32]bool{}}
	for i := range r.tree.Processes {
		p := &r.tree.Processes[i]
		for j := range p.Mem.VMAs {
			if v := &p.Mem.VMAs[j]; v.Kind == memstate.InObject {
				rules.Mapped[v.Object] = true
			}
		}
	}
	for _, h := range r.tree.Holders() {
		rules.Processes = append(rules.Processes, r.tree.Processes[h.Process].Threads[0].Name)
	}
	err := r.tree.Files.Apply(kinds, &rules)
	var forbidden *fdstate.ForbiddenError
	if errors.As(err, &forbidden) {
		return &HostError{Why: err.Error(), Hint: "change the policy, or restart without it"}
	}
	if err != nil {
		return err
	}
	open, err := r.tree.Files.Objects(kinds)
	if err != nil {
		return err
	}
	r.wanted = nil
	for _, o := range r.tree.Objects {
		if o.Saved == nil || open[o.ID] || rules.Mapped[o.ID] {
			r.wanted = append(r.wanted, o)
		}
	}
	return nil
}
