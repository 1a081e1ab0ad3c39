package virtual

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// What the filter looks at: struct seccomp_data, in 32-bit words (Linux
// include/uapi/linux/seccomp.h).
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16

	insnSize  = 8          // struct sock_filter
	auditArch = 0xc000003e // AUDIT_ARCH_X86_64
	x32Bit    = 0x40000000 // __X32_SYSCALL_BIT
)

// named lists the calls that the answerer is asked about.
func (r *Rules) named() []uint32 {
	var nrs []uint32
	if r.Hostname != "" {
		nrs = append(nrs, unix.SYS_UNAME)
	}
	if len(r.Files) > 0 {
		nrs = append(nrs, unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2)
	}
	if len(r.Addresses) > 0 {
		nrs = append(nrs, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME)
	}
	return nrs
}

// SetProgram makes the filter for the rules.
//
// For calls not named it looks at the architecture and the number alone: then
// the kernel finds out when it is installed that they are always allowed, and
// does not run it for them (Linux kernel/seccomp.c:seccomp_is_const_allow, v5.11).
func (r *Rules) SetProgram() error {
	const lo, hi = dataArgs + 5*8, dataArgs + 5*8 + 4
	nrs := r.named()
	hardware := len(r.Hardware) > 0
	insns := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.LoadAbsolute{Off: dataNr, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(x32Bit)},
	}
	for i, nr := range nrs {
		skip := len(nrs) - i // over the rest of them, and what allows
		if hardware {
			skip += 3
		}
		insns = append(insns, bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipTrue: uint8(skip)})
	}
	if hardware {
		insns = append(insns,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_IOCTL, SkipFalse: 2},
			bpf.LoadAbsolute{Off: dataArgs + 8, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SIOCGIFHWADDR, SkipTrue: 1},
		)
	}
	insns = append(insns,
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.LoadAbsolute{Off: lo, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(task.Mark & 0xffffffff), SkipFalse: 3},
		bpf.LoadAbsolute{Off: hi, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(task.Mark >> 32), SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF},
	)
	raw, err := bpf.Assemble(insns)
	if err != nil {
		return fmt.Errorf("virtual: %w", err)
	}
	r.Program = nil
	for _, i := range raw {
		r.Program = binary.LittleEndian.AppendUint16(r.Program, i.Op)
		r.Program = append(r.Program, i.Jt, i.Jf)
		r.Program = binary.LittleEndian.AppendUint32(r.Program, i.K)
	}
	return nil
}

// FilterFlags are those that the filter is installed with. Once the answerer
// has been told of a call, only SIGKILL interrupts it: what it has begun to do
// for the program is not lost and done twice (man 2 seccomp).
const FilterFlags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
