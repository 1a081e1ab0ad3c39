package task

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrIDTaken says that a process or thread of this host has an id that a new
// one was to have.
var ErrIDTaken = errors.New("id is taken")

// CloneArgsSize is the size of struct clone_args (Linux
// include/uapi/linux/sched.h, v5.7).
const CloneArgsSize = 88

// CloneArgs is a struct clone_args, with the id that the new task is to have
// behind it; 0 leaves that to the kernel.
func CloneArgs(flags uint64, exitSignal int, id ID) Struct {
	const exitSignalAt, setTID, setTIDSize = 32, 64, 72
	b := make([]byte, CloneArgsSize, CloneArgsSize+4)
	binary.LittleEndian.PutUint64(b, flags)
	binary.LittleEndian.PutUint64(b[exitSignalAt:], uint64(exitSignal))
	if id == 0 {
		return Struct{Bytes: b}
	}
	binary.LittleEndian.PutUint64(b[setTIDSize:], 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(id))
	return Struct{Bytes: b, Pointers: []Pointer{{At: setTID, To: CloneArgsSize}}}
}

// AddClone appends clone3(2) for a task that p is to make. TakeNew gives the
// tasks that come of it. With aliases the kernel chooses the number.
func (p *Process) AddClone(b *Batch, flags uint64, exitSignal int, id ID) *Call {
	if p.Aliases != nil {
		id = 0
	}
	return b.Add(unix.SYS_CLONE3, CloneArgs(flags, exitSignal, id), CloneArgsSize)
}

// Clone makes a held process, a child of p or with CLONE_PARENT a sibling, with
// the given id; 0 leaves that to the kernel. An id that somebody has gives an
// ErrIDTaken.
func (p *Process) Clone(flags uint64, exitSignal int, id ID) (*Process, error) {
	made, err := p.CloneAll([]Birth{{flags, exitSignal, id}})
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// Birth is a process to be made, as the arguments of Clone say it.
type Birth struct {
	Flags      uint64
	ExitSignal int
	ID         ID
}

// CloneAll is Clone for several processes. On error it gives those that were
// made all the same, and nil for the others.
func (p *Process) CloneAll(births []Birth) ([]*Process, error) {
	var b Batch
	calls := make([]*Call, len(births))
	for i, birth := range births {
		calls[i] = p.AddClone(&b, birth.Flags, birth.ExitSignal, birth.ID).Optional()
	}
	p.Leader().forks = true
	err := p.Run(&b)
	p.Leader().forks = false
	if err != nil {
		return nil, fmt.Errorf("make processes: %w", err)
	}
	tids, err := p.TakeNew()
	if err != nil {
		return nil, err
	}
	made := make([]*Process, len(births))
	var errs []error
	for i, c := range calls {
		if err := c.Err(); err != nil {
			errs = append(errs, fmt.Errorf("make process %d: clone3 in task %d: %w", births[i].ID, p.Leader().TID, idTaken(err)))
			continue
		}
		id := ID(c.Ret)
		if p.Aliases != nil && births[i].ID != 0 {
			id = births[i].ID
		}
		if made[i], err = AdoptProcess(p, tids[0], id, births[i].Flags&unix.CLONE_VM != 0); err != nil {
			errs = append(errs, err)
		}
		tids = tids[1:]
	}
	return made, errors.Join(errs...)
}

// CloneThreads runs a batch of AddClone.
func (t *Thread) CloneThreads(b *Batch) ([]TID, error) {
	if err := t.Run(b); err != nil {
		return nil, fmt.Errorf("make threads: %w", idTaken(err))
	}
	return t.Proc.TakeNew()
}

// idTaken says what EEXIST of clone3 means.
func idTaken(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w: %w", ErrIDTaken, err)
	}
	return err
}

// EnterNamespaces puts a sibling of p in its place, which is the init of a new
// pid namespace, in a mount namespace of its own. p does not begin as one:
// until it is traced, only its own look at its parent keeps it from outliving
// us, and an init cannot kill itself.
func (p *Process) EnterNamespaces() (init *Process, err error) {
	if _, err := p.Call(unix.SYS_UNSHARE, unix.CLONE_NEWPID|unix.CLONE_NEWNS); err != nil {
		return nil, err
	}
	if init, err = p.Clone(unix.CLONE_PARENT, 0, 0); err != nil {
		return nil, fmt.Errorf("make the namespace's init: %w", err)
	}
	init.Identify(1)
	return init, p.Exit(0)
}
