// Package restorer brings a tree back from its image: it builds every process
// from outside, and lets user code run only when all of it is complete.
package restorer

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
	"supervise/ipcstate"
	"supervise/memimg"
	"supervise/memstate"
	"supervise/netstate"
	"supervise/plugins"
	"supervise/plugins/client"
	"supervise/policy"
	"supervise/taskstate"
	"supervise/treestate"
	"supervise/virtual"
)

// Options say what to restart and how.
type Options struct {
	Image   string
	Force   bool            // though files that the tree maps are not as they were
	Detach  bool            // the tree gets a session of its own and outlives us
	IDs     IDs             // how it gets its ids back; "" is IDsAuto
	Net     Net             // which network namespace it lives in
	Policy  *policy.Policy  // may be nil
	Virtual *virtual.Wishes // that come before the image's own rules; may be nil
	Hook    plugins.Hook    // may be nil

	// Before is called when the image has been read, and nothing exists yet. It
	// is given what plugins have stored, and says what they want to be otherwise.
	// It may be nil.
	Before func(blobs map[string][]byte) (*plugins.Changes, error)

	// Found is told what the tree will have, Most at the most of each list, when all
	// is planned, and nothing exists. It may be nil.
	Found func(*client.Objects)
	Most  int

	Progress func(done, total int64) // bytes of memory filled; may be nil
}

// Net says which network namespace a tree gets.
type Net string

// A tree that lived in a network namespace of its own gets one by default, any
// other lives in ours.
const (
	NetAsBefore Net = "as-before"
	NetHost     Net = "host"
	NetPrivate  Net = "private"
)

// HostError says that an intact image cannot be restarted on this host, or by
// this user, and why.
type HostError struct {
	Why  string
	Hint string
	Err  error // may be nil
}

func (e *HostError) Error() string {
	if e.Err != nil {
		return e.Why + ": " + e.Err.Error()
	}
	return e.Why
}

func (e *HostError) Unwrap() error { return e.Err }

// restart is one restart in the making.
type restart struct {
	opts    Options
	private bool // in namespaces of its own, ids and terminals
	im      *memimg.Image
	tree    *treestate.Tree

	ids     idsPlan
	builder *task.Process
	aliases *task.Aliases  // of ids, or nil
	listen  int            // for calls about ids, until the answerer has it; 0: not open
	base    taskstate.Base // what the builder has, and its children with it
	files   *fdstate.Restorer
	sockets *netstate.Sockets
	changes *plugins.Changes // what plugins want to be otherwise, or nil
	givenAt []int            // where the builder has what they hand over
	objects *memstate.ObjectRestorer
	wanted  []memstate.Object     // of the tree's, those that are to be made
	ipc     *ipcstate.Restorer    // or nil
	procs   []*task.Process       // as tree.Processes
	holders []*task.Process       // of descriptor tables, as tree.Holders()
	vdso    *memstate.Trampolines // in the place of another kernel's vDSO, or nil
	vdsoAt  task.Addr             // where this kernel's is then

	hostVVar task.Addr // memstate.HostVVar
	known    map[task.ID]*task.Process

	standIns []task.ID // of known: processes that are no part of the tree
	status   *os.File  // the init's report of how the root ended, or nil
	term     *terminal
	ptys     map[int]bool      // terminals of the tree's own, by device number
	outside  *fdstate.Terminal // the terminal outside, or nil

	timeline memimg.Timeline
}

// stage is one step of a restart. It begins with its phase's event.
type stage struct {
	phase plugins.Phase
	run   func(*restart) error
}

// stages in order; each comment says what must already hold.
var stages = []stage{
	{plugins.Plan, (*restart).plan},         // nothing exists; everything that can be refused is refused here
	{plugins.Builder, (*restart).build},     // what all processes inherit: namespaces, objects, shared descriptors
	{plugins.Skeleton, (*restart).skeleton}, // ids, sessions, groups: all later stages name processes
	{plugins.Files, (*restart).openFiles},   // before memory: mappings of objects need the builder's descriptors
	{plugins.Fill, (*restart).fill},         // after it, only the parasite is left of us in the processes
	{plugins.Threads, (*restart).threads},   // memory is complete; time runs from here
	{plugins.Release, (*restart).release},   // no stage below: user code runs
}

// Restart brings the tree back. On error nothing of it is left. The caller
// must be a child subreaper before it calls.
//
// An id or a terminal's number that was free when we looked may be taken when
// we come to use it. Then the tree is built once more, in namespaces of its
// own, where nobody else takes numbers.
func Restart(o Options) (*Tree, error) {
	o.Hook = plugins.WithFaults(o.Hook)
	tree, err := attempt(o, false)
	for range idAttempts {
		if errors.Is(err, errClash) {
			tree, err = attempt(o, false)
		}
	}
	if isTaken(err) && o.IDs != IDsKeep && o.IDs != IDsTranslate {
		tree, err = attempt(o, true)
	}
	return tree, err
}

// isTaken tells whether a restart failed for a number that somebody has.
func isTaken(err error) bool {
	var pty *fdstate.IndexError
	var queue *fdstate.QueueError
	return errors.As(err, &pty) || errors.As(err, &queue) || errors.Is(err, task.ErrIDTaken) || errors.Is(err, ipcstate.ErrTaken)
}

func attempt(o Options, private bool) (*Tree, error) {
	r := &restart{opts: o, private: private, known: map[task.ID]*task.Process{}}
	err := task.OnThread(func() error {
		if err := r.run(); err != nil {
			return errors.Join(err, r.destroy())
		}
		return nil
	})
	if r.im != nil {
		err = errors.Join(err, r.im.Close())
	}
	if err != nil {
		return nil, err
	}
	return &Tree{
		Root:      r.procs[0].PID,
		Record:    r.tree,
		NoIoUring: r.tree.NoIoUring(),
		Stopped:   r.tree.Processes[0].Stopped != 0,
		Phases:    r.timeline.Phases,
		Control:   r.sockets.ControlEnds(),
		status:    r.status,
		term:      r.term,
	}, nil
}

func (r *restart) run() error {
	for _, st := range stages {
		if err := r.opts.Hook(st.phase); err != nil {
			return err
		}
		r.timeline.Begin(string(st.phase))
		err := st.run(r)
		if st.phase != plugins.Plan {
			err = fileProblem(err)
		}
		if err != nil {
			return fmt.Errorf("restart %s: %w", r.opts.Image, err)
		}
	}
	r.timeline.End()
	return nil
}

// fileProblem makes a HostError of an error that a file of the host has
// caused, which the tree has open, maps or works in.
func fileProblem(err error) error {
	var host *HostError
	if err == nil || errors.As(err, &host) || errors.Is(err, memimg.ErrDamaged) {
		return err
	}
	var lack *memstate.LackError
	if errors.As(err, &lack) {
		return &HostError{Why: "this host lacks something", Err: err, Hint: lack.Hint}
	}
	var socket *netstate.HostError
	if errors.As(err, &socket) {
		return &HostError{Why: "a socket of the tree cannot be made again", Err: err, Hint: socket.Hint}
	}
	var queue *fdstate.QueueError
	if errors.As(err, &queue) {
		return &HostError{Why: "a message queue of the tree cannot be made", Err: err, Hint: "see sysctl fs.mqueue.* and ulimit -q"}
	}
	var shrunk *fdstate.ShrunkError
	var other *fdstate.TypeError
	found := errors.As(err, &shrunk) || errors.As(err, &other)
	if errors.Is(err, unix.EACCES) {
		return &HostError{Why: "a file that the tree uses may not be opened by this user", Err: err,
			Hint: "restart it as a user who may, or give it another file: --stdin, --stdout, --stderr, or a rule of a policy (docs/policy.md)"}
	}
	for _, errno := range []syscall.Errno{unix.ENOENT, unix.ENOTDIR, unix.EISDIR, unix.EROFS, unix.ELOOP} {
		found = found || errors.Is(err, errno)
	}
	if !found {
		return err
	}
	return &HostError{Why: "a file that the tree uses is not as it was", Err: err, Hint: "put the file back as it was, or take a new snapshot"}
}

// destroy kills whatever has been built.
func (r *restart) destroy() error {
	if r.status != nil {
		r.status.Close()
	}
	if r.term != nil {
		r.term.restore()
	}
	if r.listen != 0 {
		unix.Close(r.listen)
	}
	err := r.sockets.Abandon()
	if r.objects != nil {
		err = errors.Join(err, r.objects.Abort())
	}
	if r.builder == nil {
		return err
	}
	var all []*task.Process
	for _, p := range r.known {
		all = append(all, p)
	}
	err = errors.Join(err, (&task.Tree{Procs: append(all, r.builder)}).Kill())
	if !r.ids.ipc {
		err = errors.Join(err, r.ipc.Abandon(), r.files.AbandonQueues())
	}
	return err
}
