// Package tracer takes snapshots: it freezes a running tree from outside,
// writes one image of it, and lets it run on.
package tracer

import (
	"errors"
	"fmt"
	"time"

	"supervise/fdstate"
	"supervise/internal/task"
	"supervise/memimg"
	"supervise/netstate"
	"supervise/plugins"
	"supervise/plugins/client"
	"supervise/policy"
	"supervise/virtual"
)

// Options say what to take a snapshot of, and where to.
type Options struct {
	Roots     []task.PID     // Roots[0] is the tree's root; more are orphans that belong to it
	Image     string         // directory to make; new or empty
	Name      string         // of the job, for the manifest
	Program   string         // our own version, for the manifest
	Stop      bool           // end the tree once the snapshot is committed
	Patience  time.Duration  // how long to try to freeze; 0 means 10 s
	Policy    *policy.Policy // may be nil
	JobPolicy string         // file that snapshots of the job go by, for the manifest; may be empty
	Interval  time.Duration  // of the job's own snapshots, for the manifest
	Keep      int            // how many of them, for the manifest
	NoIoUring bool           // the roots descend from a process that had only the filter of run --no-io-uring
	Virtual   *virtual.Rules // all are under its filter, or nil
	Hook      plugins.Hook   // may be nil

	// Ends gives what belongs to control connections, by the inode of the
	// supervisor's end; it is called when the tree is frozen, and again when it
	// has been frozen once more, after Loosen. Manifest gives
	// what is noted of them in the image. All may be nil.
	// Blobs gives what plugins have stored.
	Ends     func() map[uint32][]byte
	Loosen   func()
	Manifest func() *memimg.Control
	Blobs    func() map[string][]byte

	// Excluded gives the memory of a process that is to be left out, as far as it
	// is private and anonymous: it will be zeros. It may be nil.
	Excluded func(task.PID) []memimg.Range

	// Undumped leaves out such memory that the program has marked by
	// madvise(MADV_DONTDUMP), too.
	Undumped func() bool

	// Found is told what the snapshot holds, when all is captured. It may be nil.
	Found func(*client.Objects)

	Progress func(done, total int64) // bytes of memory looked at; may be nil
}

// defaultPatience is how long a freeze may take unless told otherwise.
const defaultPatience = 10 * time.Second

// Result describes a committed snapshot.
type Result struct {
	Manifest memimg.Manifest
	Pause    time.Duration  // how long the tree stood still
	Left     []fdstate.Left // what the policy left out
	Problems []string       // failures of plugins that were ignored
}

// KindNames are the names of all kinds of descriptors, for policies.
func KindNames() []string {
	var names []string
	for _, k := range netstate.WithFiles() {
		if !k.ByRule() {
			names = append(names, k.Name)
		}
	}
	return names
}

// StateError says in which state a failed snapshot left the tree.
type StateError struct {
	PID   task.PID
	State string // "left running", "gone"
	Err   error
}

func (e *StateError) Error() string { return e.Err.Error() }
func (e *StateError) Unwrap() error { return e.Err }

// stage is one step of a snapshot. It begins with its phase's event.
type stage struct {
	phase plugins.Phase
	run   func(*snapshot) error
}

// stages in order. After the last that needs the tree frozen comes thaw;
// what follows happens while the tree runs again.
var stages = []stage{
	{plugins.Discover, (*snapshot).create}, // an image that cannot be written disturbs nobody
	{plugins.Freeze, (*snapshot).freeze},   // from here on nothing in the tree moves
	{plugins.Survey, (*snapshot).survey},   // from outside; everything unsupported is known after it
	{plugins.Capture, (*snapshot).capture}, // by calls inside; the parasite is there until thaw
	{plugins.Memory, (*snapshot).memory},   // pages go to the image
	{plugins.Thaw, (*snapshot).thaw},
	{plugins.Commit, (*snapshot).commit}, // synced, and a snapshot by one rename
}

// Checkpoint takes one snapshot. On error no snapshot exists, and the tree
// runs on as it was (a *StateError says so).
func Checkpoint(o Options) (*Result, error) {
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	o.Hook = plugins.WithFaults(o.Hook)
	s := &snapshot{opts: o}
	err := task.OnThread(func() error {
		if err := s.run(); err != nil {
			return errors.Join(err, s.giveUp())
		}
		return s.end()
	})
	s.objects.Close()
	if err != nil {
		return nil, s.describe(err)
	}
	return &Result{Manifest: s.manifest, Pause: Pause(s.timeline.Phases), Left: s.rules.Left()}, nil
}

func (s *snapshot) run() error {
	for _, st := range stages {
		if err := s.opts.Hook(st.phase); err != nil {
			return err
		}
		s.timeline.Begin(string(st.phase))
		if err := st.run(s); err != nil {
			return err
		}
	}
	return nil
}

// create makes the image directory.
func (s *snapshot) create() error {
	w, err := memimg.Create(s.opts.Image)
	s.image = w
	return err
}

// freeze stops the tree and looks at it from outside. A tree in which a killed
// supervisor's code still runs gets a moment to leave it.
func (s *snapshot) freeze() error {
	const moment = 20 * time.Millisecond
	for deadline := time.Now().Add(s.opts.Patience); ; time.Sleep(moment) {
		tree, err := task.FreezeAs(s.opts.Virtual.AliasSet(), s.opts.Roots, s.opts.Patience)
		if err != nil {
			return err
		}
		s.tree = tree
		err = s.look()
		var stuck *task.StuckError
		if !errors.As(err, &stuck) || time.Now().After(deadline) {
			return err
		}
		s.tree = nil
		if err := tree.Thaw(); err != nil {
			return err
		}
	}
}

// thaw lets the tree go on, unless it is to end with this snapshot: then it
// waits for the commit.
func (s *snapshot) thaw() error {
	if s.opts.Stop {
		return nil
	}
	tree := s.tree
	s.tree = nil
	return tree.Thaw()
}

// end ends the tree, if that was asked for.
func (s *snapshot) end() error {
	if s.tree == nil {
		return nil
	}
	if err := s.tree.Kill(); err != nil {
		return err
	}
	return s.sockets.Leave(s.manifest.ID)
}

// giveUp takes back what a failed snapshot has done.
func (s *snapshot) giveUp() error {
	errs := []error{s.sockets.Release()}
	if s.tree != nil {
		errs = append(errs, s.tree.Thaw())
		s.tree = nil
	}
	if s.image != nil {
		errs = append(errs, s.image.Abort())
	}
	return errors.Join(errs...)
}

// describe adds what has become of the tree to an error.
func (s *snapshot) describe(err error) error {
	root := s.opts.Roots[0]
	state := "left running"
	if !root.Alive() {
		state = "gone"
		if !errors.Is(err, task.ErrGone) {
			err = fmt.Errorf("%w (%w)", err, task.ErrGone)
		}
	}
	return &StateError{PID: root, State: state, Err: err}
}
