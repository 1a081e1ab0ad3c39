package virtual

import (
	"encoding/binary"
	"fmt"
	"slices"

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

// entry is what the filter does about one system call.
type entry struct {
	nr    uint32
	to    uint32 // SECCOMP_RET_*, unless it depends on an argument
	arg   int    // the argument that it depends on, if cases is not empty: its lower half
	cases []argCase
}

// argCase is a value of an argument and what it leads to. Other values pass.
type argCase struct{ value, to uint32 }

// entries are what the rules want.
func (r *Rules) entries() []entry {
	var list []entry
	ask := func(nrs ...uint32) {
		for _, nr := range nrs {
			list = append(list, entry{nr: nr, to: unix.SECCOMP_RET_USER_NOTIF})
		}
	}
	if r.Translate {
		ask(idCalls()...)
		list = append(list, idEntries...)
	}
	if r.Hostname != "" {
		ask(unix.SYS_UNAME)
	}
	if len(r.Files) > 0 && !r.Translate {
		ask(unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2)
	}
	if len(r.Addresses) > 0 {
		ask(unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME)
	}
	for _, c := range r.Calls {
		list = append(list, entry{nr: answerable[c.Name], to: c.Answer.action()})
	}
	if len(r.Hardware)+len(r.Ioctls) > 0 || r.Translate {
		list = append(list, entry{nr: unix.SYS_IOCTL, arg: 1, cases: r.ioctlCases()})
	}
	return list
}

func (r *Rules) ioctlCases() []argCase {
	var cases []argCase
	if r.Translate {
		cases = slices.Clone(idRequests)
	}
	for _, i := range r.Ioctls {
		cases = append(cases, argCase{i.Request, i.Answer.action()})
	}
	if len(r.Hardware) > 0 {
		cases = append(cases, argCase{unix.SIOCGIFHWADDR, unix.SECCOMP_RET_USER_NOTIF})
	}
	return cases
}

// SetProgram makes the filter for the rules.
//
// For calls not named it looks at the architecture and the number alone: then
// the kernel finds out when it is installed that they are always allowed, and
// does not run it for them (Linux kernel/seccomp.c:seccomp_is_const_allow, v5.11).
func (r *Rules) SetProgram() error {
	insns := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.LoadAbsolute{Off: dataNr, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(x32Bit)},
	}
	for _, e := range r.entries() {
		block := e.block()
		if len(block) > 255 {
			return fmt.Errorf("virtual: too many rules about system call %d", e.nr)
		}
		insns = append(insns, bpf.JumpIf{Cond: bpf.JumpEqual, Val: e.nr, SkipFalse: uint8(len(block))})
		insns = append(insns, block...)
	}
	raw, err := bpf.Assemble(append(insns, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
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

// block is the code for one call. Our own, which task.Mark marks, are allowed.
func (e *entry) block() []bpf.Instruction {
	const last = dataArgs + 5*8
	insns := []bpf.Instruction{
		bpf.LoadAbsolute{Off: last, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(task.Mark & 0xffffffff), SkipFalse: 3},
		bpf.LoadAbsolute{Off: last + 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(task.Mark >> 32), SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	}
	if len(e.cases) == 0 {
		return append(insns, bpf.RetConstant{Val: e.to})
	}
	insns = append(insns, bpf.LoadAbsolute{Off: dataArgs + 8*uint32(e.arg), Size: 4})
	for _, c := range e.cases {
		insns = append(insns, bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.value, SkipFalse: 1}, bpf.RetConstant{Val: c.to})
	}
	return append(insns, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
}

// Flags are those that the filter is installed with. Where ids are translated,
// calls wait, and are made in the program itself: signals must interrupt them, and
// so must we.
func (r *Rules) Flags() uintptr {
	if r.Translate {
		return filterFlags &^ unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	return filterFlags
}

// filterFlags are those that the filter is installed with. Once the answerer
// has been told of a call, only SIGKILL interrupts it: what it has begun to do
// for the program is not lost and done twice (man 2 seccomp).
const filterFlags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
