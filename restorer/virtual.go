package restorer

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/taskstate"
	"supervise/virtual"
)

// planVirtual puts the rules of this restart before those of the image, and the
// host name that a plugin gives before all.
func (r *restart) planVirtual() error {
	wishes := []*virtual.Wishes{r.opts.Virtual}
	if r.changes != nil && r.changes.Hostname != "" {
		name, err := virtual.Hostname(r.changes.Hostname)
		if err != nil {
			return &HostError{Why: "the host name that a plugin gives does not do", Err: err}
		}
		wishes = append(wishes, name)
	}
	for _, w := range wishes {
		if err := r.wish(w); err != nil {
			return err
		}
	}
	return r.wishIDs()
}

// wishIDs has ids translated in this life of the tree, or not.
func (r *restart) wishIDs() error {
	translate := r.opts.IDs == IDsTranslate
	rules := r.tree.Virtual
	if rules == nil && translate {
		rules = new(virtual.Rules)
	}
	if rules == nil || rules.Translate == translate && !translate {
		return nil
	}
	rules.Translate, rules.Aliases = translate, nil
	if r.tree.Virtual = rules; rules.Empty() {
		r.tree.Virtual = nil
		return nil
	}
	return rules.SetProgram()
}

func (r *restart) wish(w *virtual.Wishes) error {
	if w == nil {
		return nil
	}
	rules := r.tree.Virtual
	if rules == nil {
		rules = new(virtual.Rules)
	}
	from := virtual.Snapshot{Host: r.im.Manifest().Host.Name}
	if err := w.Apply(rules, from); err != nil {
		return &HostError{Why: "the rules for what the program sees do not do", Err: err}
	}
	r.tree.Virtual = rules
	return rules.SetProgram()
}

// virtualize puts the builder under the filter of the rules, and so all that it
// makes from now on. There is no need to wait for the end: what we call in the
// tree passes the filter (task.Mark).
func (r *restart) virtualize() error {
	rules := r.tree.Virtual
	if rules == nil {
		return nil
	}
	if r.ids.limited {
		if _, err := r.builder.Call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	filter := taskstate.Filter{Program: rules.Program}
	num, err := r.builder.Call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, rules.Flags(), filter.Encode())
	if err != nil {
		return &HostError{Why: "cannot install the filter of run --virtualize", Err: err, Hint: "see `supervise check`"}
	}
	pidfd, err := unix.PidfdOpen(int(r.builder.PID), 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	listener, err := unix.PidfdGetfd(pidfd, int(num), 0)
	unix.Close(pidfd)
	if err != nil {
		return fmt.Errorf("take the listener of a filter: %w", err)
	}
	r.listen = listener
	if _, err := r.builder.Call(unix.SYS_CLOSE, num); err != nil || rules.Translate {
		return err // until all ids are known
	}
	return r.startAnswerer()
}

// startAnswerer starts who answers the calls of the tree.
func (r *restart) startAnswerer() error {
	// This thread is kept on one cpu, and what it starts would be, too.
	done := make(chan error)
	go func() { done <- r.tree.Virtual.StartAnswerer(r.listen) }()
	err := errors.Join(<-done, unix.Close(r.listen))
	r.listen = 0
	return err
}
