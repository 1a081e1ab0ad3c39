package ipcstate

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Restorer makes the objects of a tree again. Objects keep note of who used
// them, so that it has its calls made by the right processes.
type Restorer struct {
	Site
	state  *State
	made   []made
	doomed []task.Addr    // where the builder has removed segments attached
	kept   map[*Perm]bool // loose objects that are still there
}

// Site is where objects are made, and by whom.
type Site struct {
	Builder    *task.Process
	EUID, EGID int  // of the builder, and of every process until the end
	Own        bool // the ipc namespace is the tree's own

	// Author gives a process with an id of the tree: the tree's own, or one that
	// only stands in for it; for 0, or where none can be had, any.
	Author func(task.ID) (*task.Process, error)
	// Has tells whether an id is that of a process of the tree.
	Has func(task.ID) bool
}

// made is an object that a failed restart must take back.
type made struct {
	family *family
	id     int
}

// ErrTaken says that an object of this host has an id or a key that the tree
// needs.
var ErrTaken = errors.New("a System V id or key is taken")

var errKeyTaken = fmt.Errorf("%w: the key", ErrTaken)

// NewRestorer prepares the restart of s, or gives nil if there is nothing to
// restore.
func NewRestorer(s *State, at Site) *Restorer {
	if s.Empty() {
		return nil
	}
	return &Restorer{Site: at, state: s, kept: map[*Perm]bool{}}
}

// Make makes all objects; segments are empty as yet.
//
// Preconditions:
//   - All processes exist, and none has threads.
func (r *Restorer) Make() error {
	if r == nil {
		return nil
	}
	if !r.Own {
		unlock, err := lockIDs()
		if err != nil {
			return err
		}
		defer unlock()
	}
	for _, step := range []func() error{r.makeSegments, r.makeArrays, r.makeQueues} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Finish gives the objects their last users, owners and modes.
//
// Preconditions:
//   - Segments are filled, and attached wherever they are to be.
//   - Every process has what it had to undo.
func (r *Restorer) Finish() error {
	if r == nil {
		return nil
	}
	for _, step := range []func() error{r.finishSegments, r.finishArrays, r.finishQueues} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Abandon removes the objects that a failed restart has made in our own ipc
// namespace. In another one, they end with it.
func (r *Restorer) Abandon() error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, m := range r.made {
		args := [3]uintptr{uintptr(m.id), ipcRmid, 0}
		if m.family.number {
			args = [3]uintptr{uintptr(m.id), 0, ipcRmid}
		}
		if _, _, errno := unix.Syscall(m.family.ctl, args[0], args[1], args[2]); errno != 0 && errno != unix.EINVAL && errno != unix.EIDRM {
			errs = append(errs, fmt.Errorf("remove %s %d: %w", m.family.what, m.id, errno))
		}
	}
	return errors.Join(errs...)
}

// array finds an array by its id.
func (r *Restorer) array(id int) *Array {
	i := slices.IndexFunc(r.state.Arrays, func(a Array) bool { return a.Perm.ID == id })
	return &r.state.Arrays[i]
}

// ownersAccess is what an object's owner may do while it is being made.
const ownersAccess = 0o600

// object is what make has to know of one.
type object struct {
	maker task.ID // to be noted as such, or 0
	loose bool    // it is only likely that it was the tree's

	// users tells who is known to have used an object of the same identity
	// that is there, and whether somebody uses it now.
	users func(stat) (ids []task.ID, busy bool)
}

// make makes one object with its old id and key, as its creator.
func (r *Restorer) make(f *family, p *Perm, o object, getArgs ...any) error {
	if err := r.leftover(f, p, o); err != nil || r.kept[p] {
		return err
	}
	if err := r.chooseID(f, p.ID); err != nil {
		return err
	}
	by, err := r.Author(o.maker)
	if err != nil {
		return err
	}
	flags := unix.IPC_CREAT | unix.IPC_EXCL | ownersAccess
	id, err := r.asCreator(by, p, f.get, append(getArgs, flags)...)
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %s %d", errKeyTaken, f.what, p.ID)
	case err != nil:
		return f.fault(p, err)
	}
	if int(id) != p.ID {
		return errors.Join(fmt.Errorf("%w: id of %s %d", ErrTaken, f.what, p.ID), f.remove(r.Builder, int(id)))
	}
	r.made = append(r.made, made{f, int(id)})
	return nil
}

// asCreator makes the call that makes an object with the effective ids of its
// creator, which the kernel notes for ever.
func (r *Restorer) asCreator(by *task.Process, p *Perm, nr uintptr, args ...any) (int64, error) {
	if p.CUID == r.EUID && p.CGID == r.EGID {
		return by.Call(nr, args...)
	}
	const keep = -1
	var b task.Batch
	b.Add(unix.SYS_SETRESGID, keep, p.CGID, keep)
	b.Add(unix.SYS_SETRESUID, keep, p.CUID, keep)
	get := b.Add(nr, args...).Optional()
	b.Add(unix.SYS_SETRESUID, keep, r.EUID, keep)
	b.Add(unix.SYS_SETRESGID, keep, r.EGID, keep)
	b.Add(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0) // a change of ids has cleared it
	if err := by.Run(&b); err != nil {
		return 0, err
	}
	return get.Ret, get.Err()
}

// leftover looks for an object of the same identity, and removes what the dead
// tree has left. One that is only likely to be the tree's is kept as it is, and
// never made where others would see it. Anything else is in the way.
func (r *Restorer) leftover(f *family, p *Perm, o object) error {
	if r.Own {
		return nil
	}
	var b task.Batch
	st := make(stat, f.size)
	there := f.add(&b, p.ID, ipcStat, []byte(st)).Optional()
	if err := r.Builder.Run(&b); err != nil {
		return err
	}
	if there.Err() != nil && !o.loose {
		return nil // making it tells whether the id is free
	}
	now := st.perm(p.ID)
	identical := there.Err() == nil && now.Key == p.Key && now.CUID == p.CUID && now.CGID == p.CGID
	switch {
	case identical && o.loose:
		r.kept[p] = true
		return nil
	case !identical || o.loose || !r.isLeftover(p, st, o):
		return fmt.Errorf("%w: id of %s %d", ErrTaken, f.what, p.ID)
	}
	return f.remove(r.Builder, p.ID)
}

// isLeftover tells whether an object is what the dead tree has left: nobody
// who is known to have used it lives. Who knows of an object without a key
// cannot be told, so that such a one must also have been used by nobody else.
func (r *Restorer) isLeftover(p *Perm, st stat, o object) bool {
	ids, busy := o.users(st)
	ids = slices.DeleteFunc(ids, func(id task.ID) bool { return id == 0 })
	if busy || r.anyLives(ids) {
		return false
	}
	stranger := func(id task.ID) bool { return !r.Has(id) && !r.state.names(id) }
	return p.Key != 0 || !r.state.Own && len(ids) > 0 && !slices.ContainsFunc(ids, stranger)
}

// anyLives tells whether one of these processes lives that is not the tree's:
// which is being made, and has used nothing yet.
func (r *Restorer) anyLives(ids []task.ID) bool {
	var b task.Batch
	var kills []*task.Call
	for _, id := range ids {
		if !r.Has(id) {
			kills = append(kills, b.Add(unix.SYS_KILL, id, 0).Optional())
		}
	}
	if r.Builder.Run(&b) != nil {
		return true
	}
	return slices.ContainsFunc(kills, func(c *task.Call) bool { return !errors.Is(c.Err(), unix.ESRCH) })
}

// remove removes an object.
func (f *family) remove(p *task.Process, id int) error {
	var b task.Batch
	f.add(&b, id, ipcRmid, 0)
	if err := p.Run(&b); err != nil {
		return fmt.Errorf("remove %s %d: %w", f.what, id, err)
	}
	return nil
}

// chooseID makes the kernel give the next object of a family this id, if it
// is free (Linux ipc/util.c:ipc_idr_alloc, v6.18; man 5 proc_sys_kernel).
func (r *Restorer) chooseID(f *family, id int) error {
	return WriteSysctl(r.Builder, "kernel/"+f.name+"_next_id", fmt.Sprint(id))
}

// WriteSysctl writes a sysctl as a process sees it.
func WriteSysctl(p *task.Process, name, value string) error {
	path := "/proc/sys/" + name
	fd, err := p.Call(unix.SYS_OPEN, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	var b task.Batch
	b.Add(unix.SYS_WRITE, fd, []byte(value), len(value))
	b.Add(unix.SYS_CLOSE, fd)
	if err := p.Run(&b); err != nil {
		return fmt.Errorf("write %q to %s: %w", value, path, err)
	}
	return nil
}

// lockIDs keeps other restarts from choosing ids in our ipc namespace at the
// same time: what one chooses, another's object might get.
func lockIDs() (unlock func(), err error) {
	f, err := os.Open("/proc/sys/kernel/sem_next_id")
	if err != nil {
		return nil, err
	}
	const patience, moment = 2 * time.Second, 5 * time.Millisecond
	for deadline := time.Now().Add(patience); ; time.Sleep(moment) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("%w: another restart chooses ids: %w", ErrTaken, err)
		}
	}
}

// fault says which object a call failed for.
func (f *family) fault(p *Perm, err error) error {
	return fmt.Errorf("make %s %d: %w", f.what, p.ID, err)
}
