package memstate

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// VDSO is what the kernel maps into every process: the variables it keeps
// there and the code that reads them.
type VDSO struct {
	Size  uint64 `cbor:"1,keyasint" json:"size"` // from [vvar] to the end of [vdso]
	Image []byte `cbor:"2,keyasint" json:"-"`    // the ELF image of [vdso]
}

// ErrOtherVDSO says that the host's kernel maps another vDSO, which cannot
// stand in for the one in the image.
var ErrOtherVDSO = errors.New("the vDSO of this kernel differs from the one in the image")

// ReadVDSO reads the vDSO of a process by its layout. It is empty if the
// process has unmapped [vdso].
func ReadVDSO(pid task.PID, vmas []procfs.VMA) (VDSO, error) {
	var v VDSO
	for i := range vmas {
		if !vdsoGroup(&vmas[i]) {
			continue
		}
		v.Size += vmas[i].Len()
		if vmas[i].Path != "[vdso]" {
			continue
		}
		v.Image = make([]byte, vmas[i].Len())
		if err := task.Read(pid, v.Image, task.Addr(vmas[i].Start)); err != nil {
			return v, fmt.Errorf("vDSO: %w", err)
		}
	}
	if v.Image == nil {
		return VDSO{}, nil // the process has unmapped it
	}
	end, err := elfEnd(v.Image)
	if err != nil {
		return v, fmt.Errorf("vDSO of pid %d: %w", pid, err)
	}
	v.Image = v.Image[:end]
	return v, nil
}

// elfEnd finds where an ELF image ends: its section headers come last. What
// lies behind is not part of it, such as bootstrap code.
func elfEnd(image []byte) (int, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	shoff := int(uint64(image[0x28]) | uint64(image[0x29])<<8 | uint64(image[0x2a])<<16)
	end := shoff + len(f.Sections)*64
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS {
			end = max(end, int(s.Offset+s.FileSize))
		}
	}
	return min(end, len(image)), nil
}

// Match compares the image's vDSO with this host's. Where they differ it gives
// the trampolines that lead from one to the other, or an ErrOtherVDSO.
func (v *VDSO) Match() (*Trampolines, error) {
	if v.Image == nil {
		return nil, nil // nobody uses it
	}
	pid := os.Getpid()
	vmas, err := procfs.ReadMaps(pid)
	if err != nil {
		return nil, err
	}
	host, err := ReadVDSO(task.PID(pid), vmas)
	if err != nil {
		return nil, err
	}
	if host.Size == v.Size && bytes.Equal(host.Image, v.Image) {
		return nil, nil
	}
	return trampolines(*v, host)
}

// Size is the room that this host's vDSO takes beside the old one.
func (t *Trampolines) Size() task.Addr { return task.Addr(t.host.Size) }

// archMapVDSO64 is ARCH_MAP_VDSO_64 (Linux arch/x86/include/uapi/asm/prctl.h):
// maps [vvar] and what follows at a chosen address.
const archMapVDSO64 = 0x2003

// addVDSOMap maps the vDSO at its old place, or, where trampolines take that,
// this host's elsewhere.
func (s *Space) addVDSOMap(b *task.Batch, in Surroundings) {
	switch {
	case s.VDSO.Start != 0:
		b.Add(unix.SYS_ARCH_PRCTL, archMapVDSO64, s.hostVDSO(in).Start)
	case s.VVar.Start != 0 && in.HostVVar == s.VVar.End-s.VVar.Start:
		// Nothing reads it: where this kernel's is of another size, it is left out.
		b.Add(unix.SYS_ARCH_PRCTL, archMapVDSO64, s.VVar.Start)
		b.Add(unix.SYS_MUNMAP, s.VVar.End, vdsoRoom)
	}
}

// vdsoRoom is more than [vdso] takes.
const vdsoRoom = 16 * task.PageSize

// Kernels gives the range that the kernel maps by itself, for a moment at least.
func (s *Space) Kernels() Range {
	if s.VVar.Start != 0 {
		return Range{s.VVar.Start, s.VVar.End + vdsoRoom}
	}
	return s.VDSO
}

// HostVVar is the size of what this host's kernel maps before [vdso].
func HostVVar() (task.Addr, error) {
	vmas, err := procfs.ReadMaps(os.Getpid())
	size := task.Addr(0)
	for i := range vmas {
		if vdsoGroup(&vmas[i]) && vmas[i].Path != "[vdso]" {
			size += task.Addr(vmas[i].Len())
		}
	}
	return size, err
}

// hostVDSO is where this host's vDSO is mapped.
func (s *Space) hostVDSO(in Surroundings) Range {
	if in.VDSO != nil {
		return Range{in.VDSOAt, in.VDSOAt + in.VDSO.Size()}
	}
	return s.VDSO
}

// settleVDSO tells the tracer, who uses the end of it, where the vDSO is, and
// makes the trampolines.
func (s *Space) settleVDSO(p *task.Process, in Surroundings) error {
	if s.VDSO.Start == 0 {
		return nil // room is found once files are in place
	}
	end := s.hostVDSO(in).End
	err := p.FindRoom([]procfs.VMA{{Start: uint64(end) - task.PageSize, End: uint64(end), Path: "[vdso]"}})
	if err != nil || in.VDSO == nil {
		return err
	}
	return s.mapTrampolines(p, in.VDSO, in.VDSO.host.codeAt(end).Start)
}

func (s *Space) mapTrampolines(p *task.Process, t *Trampolines, host task.Addr) error {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE
	code := t.old.codeAt(s.VDSO.End)
	image := t.image(host)
	if _, err := p.Call(unix.SYS_MMAP, code.Start, len(image), unix.PROT_READ|unix.PROT_WRITE, flags, -1, 0); err != nil {
		return fmt.Errorf("map trampolines: %w", err)
	}
	if err := task.Write(p.PID, code.Start, image); err != nil {
		return fmt.Errorf("write trampolines: %w", err)
	}
	if _, err := p.Call(unix.SYS_MPROTECT, code.Start, len(image), unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return fmt.Errorf("protect trampolines: %w", err)
	}
	return nil
}

// Thread is where a thread goes on, and where its signal handlers run.
type Thread struct {
	PC, SP   task.Addr
	AltStack Range // empty without one
	Plain    bool  // there are handlers that run on the stack in use
}

// Returns tells whether a thread is in the old vDSO or will return there, as
// from the handler of a signal that came while it was. The process's memory is
// in place.
//
// Any word on the stack that leads there counts: a handler's frame has the
// program counter to return to, and nothing else leads into the middle of a
// function of the vDSO, which calls nobody. Below the stack pointer, and on
// stacks where no handler can be running, are frames of handlers that have
// returned.
func (s *Space) Returns(p *task.Process, t *Trampolines, th Thread) (bool, error) {
	if t == nil || s.VDSO.Start == 0 {
		return false, nil
	}
	code := t.old.codeAt(s.VDSO.End)
	if t.inside(code, th.PC) {
		return true, nil
	}
	onAlt := th.SP >= th.AltStack.Start && th.SP < th.AltStack.End
	switch {
	case onAlt:
		found, err := t.leadsInside(p, code, Range{th.SP, th.AltStack.End})
		if found || err != nil || !th.Plain {
			return found, err
		}
	case !th.Plain && th.AltStack.End > 0:
		return false, nil
	}
	stack, ok := s.stack(th.SP)
	if !ok {
		return false, nil
	}
	return t.leadsInside(p, code, stack)
}

// stack is what there may be of a stack above its pointer.
func (s *Space) stack(sp task.Addr) (Range, bool) {
	const most = 1 << 20
	for i := range s.VMAs {
		if v := &s.VMAs[i]; sp >= v.Start && sp < v.End {
			return Range{sp, min(v.End, sp+most)}, true
		}
	}
	return Range{}, false
}

// leadsInside looks for a word on a stack that leads into a function of the
// old vDSO, which is at code.
func (t *Trampolines) leadsInside(p *task.Process, code, stack Range) (bool, error) {
	start := stack.Start &^ 7
	words := make([]byte, stack.End-start)
	if err := task.Read(p.PID, words, start); err != nil {
		return false, err
	}
	for ; len(words) >= 8; words = words[8:] {
		if t.inside(code, task.Addr(binary.LittleEndian.Uint64(words))) {
			return true, nil
		}
	}
	return false, nil
}
