package restorer

import (
	"errors"

	"supervise/fdstate"
	"supervise/memstate"
	"supervise/netstate"
)

// applyPolicy changes what the image says about descriptors to what the policy
// says.
func (r *restart) applyPolicy() error {
	rules := fdstate.Rules{Policy: r.opts.Policy, Job: r.im.Manifest().Summary.Job, Mapped: r.mappedObjects()}
	for _, h := range r.tree.Holders() {
		rules.Processes = append(rules.Processes, r.tree.Processes[h.Process].Threads[0].Name)
	}
	err := r.tree.Files.Apply(netstate.WithFiles(), &rules)
	var forbidden *fdstate.ForbiddenError
	if errors.As(err, &forbidden) {
		return &HostError{Why: err.Error(), Hint: "change the policy, or restart without it"}
	}
	return err
}

// mappedObjects are those that memory maps.
func (r *restart) mappedObjects() map[uint32]bool {
	mapped := map[uint32]bool{}
	for i := range r.tree.Processes {
		p := &r.tree.Processes[i]
		for j := range p.Mem.VMAs {
			if v := &p.Mem.VMAs[j]; v.Kind == memstate.InObject {
				mapped[v.Object] = true
			}
		}
	}
	return mapped
}

// chooseObjects leaves saved files alone that nothing refers to.
func (r *restart) chooseObjects() error {
	open, err := r.tree.Files.Objects(netstate.WithFiles())
	if err != nil {
		return err
	}
	mapped := r.mappedObjects()
	r.wanted = nil
	for _, o := range r.tree.Objects {
		if o.Saved == nil || open[o.ID] || mapped[o.ID] {
			r.wanted = append(r.wanted, o)
		}
	}
	return nil
}
