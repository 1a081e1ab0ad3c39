// Package plugins names the phases of a snapshot and of a restart as events.
// What wants to take part (time lines, progress, fault points, later users'
// own hooks and the barrier between hosts) hangs on to them.
package plugins

// Phase is a named step of a snapshot or a restart. The names are part of the
// interface: manifests, fault points and hooks use them.
type Phase string

// The phases of a snapshot, in order.
const (
	Discover Phase = "discover" // nothing is held yet
	Freeze   Phase = "freeze"   // every thread is being stopped
	Survey   Phase = "survey"   // all is stopped; what is there, what cannot be captured
	Capture  Phase = "capture"  // state is read, partly by calls inside the tree
	Memory   Phase = "memory"   // pages are written
	Thaw     Phase = "thaw"     // the tree goes on
	Commit   Phase = "commit"   // the image is synced and gets its manifest
)

// The phases of a restart, in order.
const (
	Plan     Phase = "plan"     // the image is read; ids, files and cpu are checked
	Builder  Phase = "builder"  // the first bare process, namespaces, shared objects
	Skeleton Phase = "skeleton" // every process exists, with its ids, sessions and groups
	Files    Phase = "files"    // descriptors are in place
	Fill     Phase = "fill"     // mappings are made and filled
	Threads  Phase = "threads"  // threads exist, with signals and timers
	Release  Phase = "release"  // user code runs
)

// SnapshotPhases and RestartPhases list the phases in order.
var (
	SnapshotPhases = []Phase{Discover, Freeze, Survey, Capture, Memory, Thaw, Commit}
	RestartPhases  = []Phase{Plan, Builder, Skeleton, Files, Fill, Threads, Release}
)

// Hook is told of each phase as it begins. An error ends the operation: a
// snapshot leaves the tree running, a restart kills what it has built.
type Hook func(Phase) error
