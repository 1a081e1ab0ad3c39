package task

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// Regs are the general registers in the order of struct user_regs_struct
// (Linux arch/x86/include/asm/user_64.h).
type Regs syscall.PtraceRegs

// Kernel-internal results of an interrupted system call, which a tracer sees
// in rax (Linux include/linux/errno.h).
const (
	erestartsys          = 512
	erestartnointr       = 513
	erestartnohand       = 514
	erestartRestartblock = 516
)

// syscallInsn is the length of the syscall instruction.
const syscallInsn = 2

// noSyscall in orig_rax says that the thread is not inside a system call, so
// the kernel must not restart one (Linux
// arch/x86/kernel/signal.c:arch_do_signal_or_restart, v6.18).
const noSyscall = ^uint64(0)

// neverRestarted are the calls that give EINTR after a mere stop, although no
// signal was delivered (man 7 signal, "Interruption of system calls and
// library functions by stop signals").
var neverRestarted = map[uint64]bool{
	unix.SYS_EPOLL_WAIT:      true,
	unix.SYS_EPOLL_PWAIT:     true,
	unix.SYS_EPOLL_PWAIT2:    true,
	unix.SYS_SEMOP:           true,
	unix.SYS_SEMTIMEDOP:      true,
	unix.SYS_RT_SIGTIMEDWAIT: true,
	unix.SYS_IO_GETEVENTS:    true,
	unix.SYS_IO_PGETEVENTS:   true,

	// Of sockets with SO_RCVTIMEO or SO_SNDTIMEO (Linux
	// include/net/sock.h:sock_intr_errno, v6.12). Nothing has been moved yet:
	// else the call would have said how much.
	unix.SYS_READ:     true,
	unix.SYS_READV:    true,
	unix.SYS_WRITE:    true,
	unix.SYS_WRITEV:   true,
	unix.SYS_RECVFROM: true,
	unix.SYS_RECVMSG:  true,
	unix.SYS_RECVMMSG: true,
	unix.SYS_SENDTO:   true,
	unix.SYS_SENDMSG:  true,
	unix.SYS_SENDMMSG: true,
	unix.SYS_ACCEPT:   true,
	unix.SYS_ACCEPT4:  true,
	unix.SYS_CONNECT:  true,
}

// PC is the address of the next instruction.
func (r *Regs) PC() Addr { return Addr(r.Rip) }

// SP is the stack pointer.
func (r *Regs) SP() Addr { return Addr(r.Rsp) }

// interrupted gives the kernel-internal error of an interrupted system call,
// or 0.
func (r *Regs) interrupted() int64 {
	if int64(r.Orig_rax) < 0 {
		return 0
	}
	switch e := -int64(r.Rax); e {
	case erestartsys, erestartnointr, erestartnohand, erestartRestartblock:
		return e
	}
	return 0
}

// InCall gives the system call that the thread is inside of, and its first
// argument.
func (r *Regs) InCall() (nr uintptr, first uint64, ok bool) {
	return uintptr(r.Orig_rax), r.Rdi, int64(r.Orig_rax) >= 0
}

// again points r at its interrupted call once more, from the start.
func (r Regs) again(nr uint64) Regs {
	r.Rax = nr
	r.Rip -= syscallInsn
	r.Orig_rax = noSyscall
	return r
}

// spuriousEINTR tells whether a call in the never-restarted list came back
// with EINTR. Whether a signal explains it is for the caller to find out.
func (r *Regs) spuriousEINTR() bool {
	return int64(r.Rax) == -int64(syscall.EINTR) && neverRestarted[r.Orig_rax]
}

// Resumed gives the registers the kernel itself would resume a program with
// that was stopped at r (arch_do_signal_or_restart): what the way home needs.
func (r Regs) Resumed() Regs {
	switch r.interrupted() {
	case 0:
		r.Orig_rax = noSyscall
		return r
	case erestartRestartblock:
		return r.again(unix.SYS_RESTART_SYSCALL)
	default:
		return r.again(r.Orig_rax)
	}
}

// takenUpAgain marks the call that r was interrupted in as one that the kernel
// makes once more, from the start, when the thread goes on; unless a signal
// with a handler comes first, when it ends with EINTR, as it would have.
func (r Regs) takenUpAgain() Regs {
	r.Rax = ^uint64(erestartnohand) + 1
	return r
}

// Restarted gives the registers for a copy of the thread in a new process,
// where the kernel knows nothing of the time that an interrupted call had
// left: it is made once more from the start. text is the code just before the
// program counter, which tells the number of a call that was already being
// restarted (restart_syscall(2)).
func (r Regs) Restarted(text []byte) Regs {
	e := r.interrupted()
	if e == 0 {
		r.Orig_rax = noSyscall
		return r
	}
	if r.Orig_rax == unix.SYS_RESTART_SYSCALL {
		nr, ok := restartedCall(&r, text)
		if !ok {
			r.Rax, r.Orig_rax = ^uint64(syscall.EINTR)+1, noSyscall
			return r
		}
		r.Orig_rax = nr
	}
	if e == erestartRestartblock {
		return r.takenUpAgain()
	}
	return r
}

// restartedCall finds which call a restart_syscall stands for. The kernel
// keeps it where nobody can look (current->restart_block), but only four
// calls use it (Linux, callers of set_restart_fn), the argument registers
// are still those of the first attempt, and compilers load the number right
// before the syscall instruction.
func restartedCall(r *Regs, text []byte) (uint64, bool) {
	if nr, ok := loadedNumber(text); ok {
		return nr, true
	}
	const small = 1 << 16 // no pointer lies below it (vm.mmap_min_addr)
	switch {
	case r.Rdi < 16 && r.Rdx >= small:
		return unix.SYS_CLOCK_NANOSLEEP, true
	case r.Rsi >= small:
		return unix.SYS_NANOSLEEP, true
	case r.R10 >= small && futexWait(r.Rsi):
		return unix.SYS_FUTEX, true
	case r.Rsi > 0 && r.Rdx > 0 && r.Rdx < 1<<31:
		return unix.SYS_POLL, true
	}
	return 0, false
}

// futexWait tells whether op is FUTEX_WAIT or FUTEX_WAIT_BITSET, whatever its flags.
func futexWait(op uint64) bool {
	cmd := op &^ (128 | 256) // FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
	return cmd == 0 || cmd == 9
}

// loadedNumber decodes `mov $nr,%eax; syscall` at the end of text.
func loadedNumber(text []byte) (uint64, bool) {
	const movEAX, length = 0xb8, 5
	if len(text) < length+syscallInsn {
		return 0, false
	}
	mov := text[len(text)-length-syscallInsn:]
	if mov[0] != movEAX {
		return 0, false
	}
	switch nr := uint64(binary.LittleEndian.Uint32(mov[1:])); nr {
	case unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_POLL, unix.SYS_FUTEX:
		return nr, true
	}
	return 0, false
}

// Layout shared with parasite_amd64.s.
const (
	rowSize   = 64
	rowResult = 56
	frameMask = 160
	frameSize = 168
)

// parasiteRegs returns base changed to run rows from the table at row.
func parasiteRegs(base Regs, code, row, frame Addr, rows int, store bool) Regs {
	r := base
	r.Rip = uint64(code)
	r.Rbx, r.R12, r.R13, r.R14 = uint64(row), uint64(rows), uint64(frame), 0
	if store {
		r.R14 = 1
	}
	r.Orig_rax = noSyscall
	return r
}

// initLoopRegs returns base changed to run the init loop.
func initLoopRegs(base Regs, code, scratch Addr, root, statusFD int) Regs {
	r := base
	r.Rip = uint64(code)
	r.R12, r.R13, r.R14 = uint64(root), uint64(statusFD), uint64(scratch)
	r.Orig_rax = noSyscall
	return r
}

// appendFrame encodes the way home to r with the given signal mask.
func appendFrame(b []byte, r Regs, mask uint64) []byte {
	r = r.Resumed()
	for _, v := range [...]uint64{
		r.R15, r.R14, r.R13, r.R12, r.Rbp, r.Rbx, r.R11, r.R10, r.R9, r.R8,
		r.Rax, r.Rcx, r.Rdx, r.Rsi, r.Rdi, r.Rip, r.Cs, r.Eflags, r.Rsp, r.Ss, mask,
	} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}
