package memstate

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// MM is what the kernel notes about an address space: struct prctl_mm_map
// (man 2 prctl, PR_SET_MM_MAP), and the link /proc/PID/exe.
type MM struct {
	StartCode  task.Addr `cbor:"1,keyasint" json:"start_code"`
	EndCode    task.Addr `cbor:"2,keyasint" json:"end_code"`
	StartData  task.Addr `cbor:"3,keyasint" json:"start_data"`
	EndData    task.Addr `cbor:"4,keyasint" json:"end_data"`
	StartBrk   task.Addr `cbor:"5,keyasint" json:"start_brk"`
	Brk        task.Addr `cbor:"6,keyasint" json:"brk"`
	StartStack task.Addr `cbor:"7,keyasint" json:"start_stack"`
	ArgStart   task.Addr `cbor:"8,keyasint" json:"arg_start"`
	ArgEnd     task.Addr `cbor:"9,keyasint" json:"arg_end"`
	EnvStart   task.Addr `cbor:"10,keyasint" json:"env_start"`
	EnvEnd     task.Addr `cbor:"11,keyasint" json:"env_end"`
	Auxv       []byte    `cbor:"12,keyasint" json:"auxv"`
	Exe        string    `cbor:"13,keyasint" json:"exe"`
	ExeID      FileID    `cbor:"14,keyasint" json:"exe_id"`
	ExeObject  uint32    `cbor:"15,keyasint,omitempty" json:"exe_object,omitempty"` // deleted or replaced: its content
	LockFuture LockMode  `cbor:"16,keyasint,omitempty" json:"lock_future,omitempty"`
	Merge      bool      `cbor:"17,keyasint,omitempty" json:"merge,omitempty"` // PR_SET_MEMORY_MERGE
}

// capture reads the notes on the address space of a held and infected process,
// some of them by asking in batch b.
func (m *MM) capture(b *task.Batch, p *task.Process, stat procfs.Stat, objects *Objects) error {
	*m = MM{
		StartCode: task.Addr(stat.StartCode), EndCode: task.Addr(stat.EndCode),
		StartData: task.Addr(stat.StartData), EndData: task.Addr(stat.EndData),
		StartBrk: task.Addr(stat.StartBrk), StartStack: task.Addr(stat.StartStack),
		ArgStart: task.Addr(stat.ArgStart), ArgEnd: task.Addr(stat.ArgEnd),
		EnvStart: task.Addr(stat.EnvStart), EnvEnd: task.Addr(stat.EnvEnd),
	}
	brk := b.Add(unix.SYS_BRK, 0)
	b.Then(func() error {
		m.Brk = task.Addr(brk.Ret)
		return nil
	})
	m.captureModes(b, p)
	var err error
	if m.Auxv, err = procfs.ReadAuxv(int(p.PID)); err != nil {
		return err
	}
	if m.Exe, err = procfs.Exe(int(p.PID)); err != nil {
		return err
	}
	if m.ExeObject, err = objects.Program(p.PID); err != nil || m.ExeObject != 0 {
		return err
	}
	exe := reached{path: fmt.Sprintf("/proc/%d/exe", p.PID)}
	if err := unix.Stat(exe.path, &exe.stat); err != nil {
		return fmt.Errorf("exe of pid %d: %w", p.PID, err)
	}
	m.ExeID = *objects.identify(exe, p, nil)
	return nil
}

// mmMapSize is sizeof(struct prctl_mm_map).
const mmMapSize = 104

// restore sets the notes again, and gives the open of the program, if that is
// a file with a name. The mappings must be in place, and none of the old
// program left, or the kernel refuses the exe link with EBUSY.
func (m *MM) restore(b *task.Batch, p *task.Process, objects *ObjectRestorer) (*opened, error) {
	var exe *opened
	fd := objects.FD(m.ExeObject)
	if m.ExeObject == 0 {
		o, err := newOpener(p)
		if err != nil {
			return nil, err
		}
		file := o.add(b, m.Exe, unix.O_RDONLY)
		exe, fd = &file, file.number
	}
	link := fd
	if m.isOwn(p) {
		link = -1
	}
	b.Add(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, m.encode(link), mmMapSize, 0)
	if exe != nil {
		b.Add(unix.SYS_CLOSE, fd)
	}
	m.addModes(b)
	return exe, nil
}

// isOwn tells whether the process's program is ours, as in a tree that has
// asked its supervisor for a snapshot. Then it has it mapped, and the link, which
// is right from the begin, cannot be changed (Linux
// kernel/fork.c:replace_mm_exe_file, v6.12): -1 leaves it as it is.
func (m *MM) isOwn(p *task.Process) bool {
	link, err := procfs.Exe(int(p.PID))
	return err == nil && m.ExeObject == 0 && link == m.Exe
}

func (m *MM) encode(exe int) task.Struct {
	var b []byte
	for _, a := range []task.Addr{
		m.StartCode, m.EndCode, m.StartData, m.EndData, m.StartBrk, m.Brk,
		m.StartStack, m.ArgStart, m.ArgEnd, m.EnvStart, m.EnvEnd,
	} {
		b = binary.LittleEndian.AppendUint64(b, uint64(a))
	}
	auxv := len(b)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Auxv)))
	b = binary.LittleEndian.AppendUint32(b, uint32(exe))
	return task.Struct{
		Bytes:    append(b, m.Auxv...),
		Pointers: []task.Pointer{{At: auxv, To: mmMapSize}},
	}
}
