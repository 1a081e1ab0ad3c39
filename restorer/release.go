package restorer

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// release lets the tree go. Each step is done for all processes before the
// next: once KeepOnExit is through, our death no longer harms the tree.
func (r *restart) release() error {
	if err := r.startTranslation(); err != nil {
		return err
	}
	if err := r.files.Truncate(r.holders); err != nil {
		return err
	}
	if err := r.files.Release(); err != nil {
		return err
	}
	if err := r.retireBuilder(); err != nil {
		return err
	}
	for _, step := range []func(*task.Process) error{
		(*task.Process).Cure, (*task.Process).Settle, (*task.Process).KeepOnExit,
	} {
		for _, p := range r.procs {
			if err := step(p); err != nil {
				return err
			}
		}
	}
	if err := r.takeTerminal(); err != nil {
		return err
	}
	for _, p := range r.procs {
		if err := p.Release(); err != nil {
			return fmt.Errorf("release process %d: %w", p.ID, err)
		}
	}
	r.objects.Done()
	return nil
}

// retireBuilder makes the builder the init of the namespace, or ends it.
func (r *restart) retireBuilder() error {
	if !r.ids.namespace {
		builder := r.builder
		r.builder = nil
		return builder.Exit(0)
	}
	if err := unix.SchedSetaffinity(int(r.builder.PID), &r.base.CPUs); err != nil {
		return fmt.Errorf("give the init its cpus: %w", err)
	}
	r.builder.BecomeInit(r.procs[0].ID, r.ids.status)
	if err := r.builder.KeepOnExit(); err != nil {
		return err
	}
	return r.builder.Release()
}
