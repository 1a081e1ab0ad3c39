package task

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrIDTaken says that a process of this host has an id that a new one was to
// have.
var ErrIDTaken = errors.New("process id is taken")

// CloneArgs is struct clone_args (Linux include/uapi/linux/sched.h), with the
// id that the new task is to have behind it; 0 leaves that to the kernel.
func CloneArgs(flags uint64, exitSignal int, id ID) Struct {
	const size, setTID, setTIDSize = CloneArgsSize, 64, 72
	b := make([]byte, size, size+4)
	binary.LittleEndian.PutUint64(b[0:], flags)
	binary.LittleEndian.PutUint64(b[32:], uint64(exitSignal))
	if id == 0 {
		return Struct{Bytes: b}
	}
	binary.LittleEndian.PutUint64(b[setTIDSize:], 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(id))
	return Struct{Bytes: b, Pointers: []Pointer{{At: setTID, To: size}}}
}

// CloneArgsSize is what clone3(2) takes as the size of CloneArgs.
const CloneArgsSize = 88

// Clone makes a child process of p, with the given id unless that is 0.
//
// Preconditions:
//   - p is a process of a restart: its children are held when they begin.
func (p *Process) Clone(flags uint64, exitSignal int, id ID) (*Process, error) {
	got, err := p.Call(unix.SYS_CLONE3, CloneArgs(flags, exitSignal, id), CloneArgsSize)
	if errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("%w: %d", ErrIDTaken, id)
	}
	if err != nil {
		return nil, fmt.Errorf("make process %d: %w", id, err)
	}
	tids, err := p.TakeNew()
	if err != nil {
		return nil, err
	}
	return AdoptProcess(p, tids[0], ID(got), flags&unix.CLONE_VM != 0)
}
