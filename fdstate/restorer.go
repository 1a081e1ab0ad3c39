package fdstate

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
	"supervise/policy"
)

// Restorer opens the descriptors of a tree again. The package comment has its
// steps in order.
type Restorer struct {
	state   State
	records []Record
	kinds   map[Tag]*Kind
	object  func(id uint32) int

	free      numbers      // used: by some process; reserved: by none, in use while the tree is built
	limit     int          // above all numbers that the builder may use
	inherited map[int]bool // what the builder has open of these at the end, and all processes with it

	places []int  // by file: the reserved number of a shared one, or -1
	stowed []stow // by file: where that is, if not in the builder
	index  map[*File]int
	first  []int   // by file: the first process that has it
	nums   []int   // by file: its first number there
	many   []bool  // by file: more than one process has it
	flies  []bool  // by file: it is in flight
	links  [][]int // by process: the files that Link is about
	locked [][]int // by process: the files that it locks
	arms   [][]int // by process: the files that Arm is about
	given  []int   // the reserved numbers of what plugins hand over
	std    [3]int  // the reserved numbers of restart's own stdin, stdout and stderr
	stdTTY [3]bool // which of them are terminals

	queues     map[*File]int // reserved numbers of descriptions of message queues
	madeQueues []string

	pipes map[uint64]pipeEnds
	homes map[uint64]*pipeHome

	removed map[uint64]int  // reserved numbers of directories that were removed
	holders []*task.Process // by process, as far as Link has come
	ptys    map[int]ptyPair
	last    [2][]func(o *Opener) error // called at the end of OpenShared

	keeper  func() (*task.Process, error)
	keepers map[*task.Process]int // the reserved numbers of their pidfds

	release []func() error // called when the tree is about to run
}

// Landings is how many descriptors may come at once before they are moved: low
// numbers are left for what calls return.
const Landings = 128

// NewRestorer prepares the restart of s. object tells the number at which a
// memory object is open in the builder and all its descendants.
func NewRestorer(s State, kinds []Kind, object func(id uint32) int) (*Restorer, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	records, err := s.Records(kinds)
	if err != nil {
		return nil, err
	}
	r := &Restorer{state: s, records: records, object: object, kinds: map[Tag]*Kind{},
		free:  numbers{used: map[int]bool{}, reserved: map[int]bool{}, low: Landings},
		pipes: map[uint64]pipeEnds{}, homes: map[uint64]*pipeHome{}, removed: map[uint64]int{}, queues: map[*File]int{}, keepers: map[*task.Process]int{}, ptys: map[int]ptyPair{}}
	for i := range kinds {
		r.kinds[kinds[i].Tag] = &kinds[i]
	}
	for _, table := range s.Tables {
		for _, fd := range table {
			r.free.add(fd.Num)
		}
	}
	for _, rec := range records {
		if rec, ok := rec.(*Epoll); ok {
			for _, in := range rec.Interests {
				r.free.add(in.FD) // for a moment, where the file has another number now
			}
		}
	}
	r.findUsers()
	r.findHomes()
	r.findLinks()
	r.findLocks()
	r.findArmed()
	return r, nil
}

// findUsers tells private descriptions from shared ones.
func (r *Restorer) findUsers() {
	n := len(r.state.Files)
	r.first, r.nums, r.places, r.many, r.flies = make([]int, n), make([]int, n), make([]int, n), make([]bool, n), make([]bool, n)
	r.stowed = make([]stow, n)
	for _, rec := range r.records {
		if c, ok := rec.(carrier); ok {
			for _, file := range c.Carries() {
				r.flies[file] = true
			}
		}
	}
	for file := range n {
		r.first[file], r.places[file] = -1, -1
	}
	for i, table := range r.state.Tables {
		for _, fd := range table {
			switch r.first[fd.File] {
			case -1:
				r.first[fd.File], r.nums[fd.File] = i, fd.Num
			case i:
			default:
				r.many[fd.File] = true
			}
		}
	}
}

// Reserve gives out a number that no process of the tree uses. They are kept
// low, since a fork copies the table up to the highest one and an ordinary
// user may have no high ones.
func (r *Restorer) Reserve() int {
	num := r.free.lowest()
	r.free.reserved[num] = true
	return num
}

// opener makes an Opener for a process that has only reserved numbers open.
func (r *Restorer) opener(p *task.Process) *Opener {
	return &Opener{Proc: p, r: r, known: map[*task.Process]bool{}, used: numbers{used: map[int]bool{}, reserved: r.free.reserved}}
}

// kindAt is the kind of a file.
func (r *Restorer) kindAt(file int) *Kind { return r.kinds[r.state.Files[file].Tag] }

// shared tells whether a file is opened in the builder.
func (r *Restorer) shared(file int) bool {
	switch {
	case r.records[file] == nil:
		return false
	case r.flies[file]:
		return true
	case r.opensLate(file):
		return false
	}
	if b, ok := r.records[file].(interface{ inBuilder() bool }); ok && b.inBuilder() {
		return true
	}
	if owned, ok := r.records[file].(interface{ own(*Restorer) bool }); ok && owned.own(r) {
		return r.many[file]
	}
	return r.many[file] || r.kindAt(file).Shared
}

// OpenShared opens in the builder what its descendants are to inherit.
//
// Preconditions:
//   - The builder is bare, has not forked, and its 0, 1 and 2 are the stdin,
//     stdout and stderr of the restart; whatever else is open at numbers
//     that were not reserved is closed.
//   - Memory objects are open already, and RLIMIT_NOFILE is high enough.
//
// keeper makes a process that has what the builder has open, for what is stowed.
func (r *Restorer) OpenShared(builder *task.Process, keeper func() (*task.Process, error)) error {
	o := r.opener(builder)
	o.shared, r.keeper = true, keeper
	if err := r.findLimit(builder); err != nil {
		return err
	}
	if err := r.moveStdio(o); err != nil {
		return err
	}
	for i := range r.state.Files {
		if !r.shared(i) {
			continue
		}
		if _, ok := r.records[i].(placer); !ok {
			r.places[i] = r.Reserve()
		}
		if err := r.open(o, i, Slot{Num: r.places[i], CloseOnExec: true}); err != nil {
			return err
		}
	}
	for _, fn := range slices.Concat(r.last[:]...) {
		if err := fn(o); err != nil {
			return err
		}
	}
	if err := o.Run(); err != nil {
		return err
	}
	open, err := procfs.FDs(int(builder.PID))
	r.inherited = make(map[int]bool, len(open))
	for _, num := range open {
		r.inherited[num] = true
	}
	return err
}

// Release does what waits until the tree is complete. Nothing of the restart
// may fail after it.
func (r *Restorer) Release() error {
	var errs []error
	for _, fn := range r.release {
		errs = append(errs, fn())
	}
	return errors.Join(errs...)
}

// moveStdio moves the builder's own 0, 1 and 2 out of the way. One that is
// closed becomes /dev/null.
func (r *Restorer) moveStdio(o *Opener) error {
	open, err := procfs.FDs(int(o.Proc.PID))
	if err != nil {
		return err
	}
	for _, num := range open {
		switch {
		case num <= 2:
			o.used.add(num)
		case !r.free.reserved[num]: // left open by whoever started the restart
			o.Call("close", unix.SYS_CLOSE, num)
		}
	}
	for i := range r.std {
		r.std[i] = r.Reserve()
		at := Slot{Num: r.std[i], CloseOnExec: true}
		if !o.used.used[i] {
			o.OpenPath(at, "open /dev/null", "/dev/null", unix.O_RDWR)
			continue
		}
		o.Dup(i, at)
	}
	for i := range r.std {
		if o.used.used[i] {
			o.Call("close", unix.SYS_CLOSE, i)
			o.used.remove(i)
		}
	}
	if err := o.Run(); err != nil {
		return err
	}
	return r.findTerminals(o)
}

// open opens a file at a slot. Where a rule says so, one that cannot be opened
// as it was becomes /dev/null.
func (r *Restorer) open(o *Opener, file int, at Slot) error {
	if _, named := r.records[file].(named); !named || !r.state.Files[file].rule.Does(policy.Ignore) {
		return r.queue(o, file, at)
	}
	if err := o.Run(); err != nil {
		return err
	}
	err := r.queue(o, file, at)
	if err == nil {
		err = o.Run()
	}
	if err == nil || errors.Is(err, task.ErrGone) {
		return err
	}
	o.batch, o.then = task.Batch{}, nil
	o.batch.Add(unix.SYS_CLOSE, at.Num).Optional() // it may be open, and of another type
	o.used.remove(at.Num)
	o.OpenPath(at, "open "+nowhere, nowhere, accessOf(r.state.Files[file].Flags))
	r.records[file] = &Redirected{Path: nowhere, From: file}
	return o.Run()
}

// named is a record of what one open of a name brings back.
type named interface{ named() }

func (*Regular) named()    {}
func (*Directory) named()  {}
func (*Device) named()     {}
func (*PathOnly) named()   {}
func (*Redirected) named() {}

// queue queues all it takes to open a file at a slot.
func (r *Restorer) queue(o *Opener, file int, at Slot) error {
	f := &r.state.Files[file]
	wrap := func(err error) error { return fmt.Errorf("restore %s (%s): %w", f.Link, r.kindAt(file).Name, err) }
	mark := len(o.then)
	if err := r.records[file].Restore(o, f, at); err != nil {
		return wrap(err)
	}
	if _, ok := r.records[file].(keepsFlags); !ok {
		o.Call("fcntl F_SETFL", unix.SYS_FCNTL, at.Num, unix.F_SETFL, f.Flags&^unix.O_ASYNC)
	}
	o.wrap(min(mark, len(o.then)), wrap)
	return nil
}

// keepsFlags is a record whose description gets no F_SETFL.
type keepsFlags interface{ KeepsFlags() }

// OpenOwn opens process i's private descriptions and puts all of its
// descriptors at their numbers. In p nothing is open yet but what it has
// inherited from the builder.
func (r *Restorer) OpenOwn(i int, p *task.Process) error {
	o := r.opener(p)
	o.used.reserved = r.inherited
	placed := map[int]int{} // private file: its number
	for _, fd := range r.state.Tables[i] {
		at := Slot{Num: fd.Num, CloseOnExec: fd.CloseOnExec}
		if r.stowed[fd.File].keeper != nil {
			o.unstow(r.stowed[fd.File], at)
			continue
		}
		if r.shared(fd.File) {
			o.Dup(r.source(fd.File, fd.Num), at)
			continue
		}
		if r.late(fd.File) {
			continue
		}
		if num, ok := placed[fd.File]; ok {
			o.Dup(num, at)
			continue
		}
		placed[fd.File] = fd.Num
		if err := r.open(o, fd.File, at); err != nil {
			return err
		}
	}
	return o.Run()
}

// source is the reserved number that a process's descriptor comes from.
func (r *Restorer) source(file, num int) int {
	if out, ok := r.records[file].(*Outside); ok && len(out.Std) > 0 {
		return r.std[out.pick(num)]
	}
	return r.places[file]
}

// number is where process i has a file: in its table or, inherited and not
// closed yet, at its reserved number.
func (r *Restorer) number(i, file int) int {
	if i == r.first[file] {
		return r.nums[file]
	}
	if num := r.state.Tables[i].Find(file); num >= 0 {
		return num
	}
	return r.places[file]
}
