// Package tracer takes snapshots: it freezes a running tree from outside,
// writes one image of it, and lets it run on.
package tracer

import (
	"errors"
	"time"

	"supervise/internal/task"
	"supervise/memimg"
	"supervise/plugins"
)

// Options say what to take a snapshot of, and where to.
type Options struct {
	Roots    []task.PID          // Roots[0] is the tree's root; more are orphans that belong to it
	Image    string              // directory to make; new or empty
	Name     string              // of the job, for the manifest
	Stop     bool                // end the tree once the snapshot is committed
	Patience time.Duration       // how long to try to freeze; 0 means 10 s
	Hook     plugins.Hook        // may be nil
	Progress func(done, total int64) // bytes of memory written; may be nil
}

// Result describes a committed snapshot.
type Result struct {
	Manifest memimg.Manifest
	Pause    time.Duration // how long the tree stood still
}

// StateError says in which state a failed snapshot left the tree.
type StateError struct {
	PID   task.PID
	State string // "left running", "gone"
	Err   error
}

func (e *StateError) Error() string { return e.Err.Error() }
func (e *StateError) Unwrap() error { return e.Err }

// Checkpoint takes one snapshot. On error no snapshot exists, and the tree
// runs on as it was (a *StateError says so).
func Checkpoint(o Options) (*Result, error) {
	return nil, errors.New("not built yet")
}
