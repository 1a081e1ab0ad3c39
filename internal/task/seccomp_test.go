package task

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// assemble encodes a filter as the kernel gives it.
func assemble(t *testing.T, insns ...bpf.Instruction) *bpf.VM {
	t.Helper()
	raw, err := bpf.Assemble(insns)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, r := range raw {
		b = binary.LittleEndian.AppendUint16(b, r.Op)
		b = append(b, r.Jt, r.Jf)
		b = binary.LittleEndian.AppendUint32(b, r.K)
	}
	vm, err := newFilterVM(b)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestSeccompAction(t *testing.T) {
	const kill, errno, allow = unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_ERRNO | 5, unix.SECCOMP_RET_ALLOW
	// Kills munmap of anything at or above 4 GiB; the high word of the first argument tells.
	highUnmap := assemble(t,
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_MUNMAP, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 20, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: kill},
		bpf.RetConstant{Val: allow})
	// Lets every call of another architecture, and prctl, fail.
	noPrctl := assemble(t,
		bpf.LoadAbsolute{Off: 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: auditArch, SkipTrue: 2},
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_PRCTL, SkipTrue: 1},
		bpf.RetConstant{Val: errno},
		bpf.RetConstant{Val: allow})
	for _, c := range []struct {
		name string
		nr   uint64
		arg  uint64
		want uint32
	}{
		{"allowed", unix.SYS_MMAP, 1 << 40, allow},
		{"low", unix.SYS_MUNMAP, 1 << 31, allow},
		{"high", unix.SYS_MUNMAP, 1 << 32, kill},
		{"fails", unix.SYS_PRCTL, 0, unix.SECCOMP_RET_ERRNO},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, filters := range [][]*bpf.VM{{highUnmap, noPrctl}, {noPrctl, highUnmap}} {
				got, err := seccompAction(filters, c.nr, 0x1000, []uint64{c.arg, 0, 0, 0, 0, 0})
				if err != nil || got != c.want {
					t.Errorf("%#x, %v; want %#x", got, err, c.want)
				}
			}
		})
	}
}
