package memstate

import (
	"bytes"
	"debug/elf"
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

// ErrOtherVDSO says that the host's kernel maps another vDSO.
var ErrOtherVDSO = errors.New("the vDSO of this kernel differs from the one in the image")

// ReadVDSO reads the vDSO of a process by its layout.
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

// Check compares the image's vDSO with this host's.
func (v *VDSO) Check() error {
	pid := os.Getpid()
	vmas, err := procfs.ReadMaps(pid)
	if err != nil {
		return err
	}
	host, err := ReadVDSO(task.PID(pid), vmas)
	if err != nil {
		return err
	}
	if host.Size != v.Size || !bytes.Equal(host.Image, v.Image) {
		return ErrOtherVDSO
	}
	return nil
}

// archMapVDSO64 is ARCH_MAP_VDSO_64 (Linux arch/x86/include/uapi/asm/prctl.h):
// maps [vvar] and what follows at a chosen address.
const archMapVDSO64 = 0x2003

// mapVDSO maps the vDSO at its old place, and shows the tracer the new layout.
func (s *Space) mapVDSO(p *task.Process) error {
	if s.VDSO.Start == 0 {
		return nil
	}
	if _, err := p.Call(unix.SYS_ARCH_PRCTL, archMapVDSO64, s.VDSO.Start); err != nil {
		return fmt.Errorf("map vDSO at %#x: %w", uint64(s.VDSO.Start), err)
	}
	return p.MovedVDSO([]procfs.VMA{{
		Start: uint64(s.VDSO.End) - task.PageSize, End: uint64(s.VDSO.End), Path: "[vdso]",
	}})
}
