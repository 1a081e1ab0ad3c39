package task

import (
	"errors"
	"slices"
	"syscall"
)

// Tree is a set of held processes.
type Tree struct {
	Procs   []*Process // parents before children
	Zombies []PID      // dead, and not yet waited for by their parent
}

// Thaw cures every process and lets it go on. It goes through the whole tree
// even when parts of it have died.
func (tree *Tree) Thaw() error {
	var errs []error
	for _, p := range tree.Procs {
		errs = append(errs, p.Cure())
	}
	for _, p := range tree.Procs {
		errs = append(errs, p.Release())
	}
	return ignoreGone(errors.Join(errs...))
}

// Kill ends every process of the tree and waits until all are dead.
func (tree *Tree) Kill() error {
	for _, p := range tree.Procs {
		if err := p.Kill(); err != nil && !errors.Is(err, syscall.ESRCH) {
			return goneErr("kill", TID(p.PID), err)
		}
	}
	for _, p := range tree.Procs {
		for _, t := range slices.Backward(p.Threads) {
			if err := t.awaitDeath(); err != nil {
				return err
			}
		}
	}
	return nil
}

// ignoreGone drops the error of tasks that died while held: there is nothing
// left to give back.
func ignoreGone(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if errors.Is(err, ErrGone) {
			return nil
		}
		return err
	}
	return errors.Join(slices.DeleteFunc(joined.Unwrap(), func(e error) bool { return ignoreGone(e) == nil })...)
}
