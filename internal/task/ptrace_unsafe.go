package task

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests and structures that golang.org/x/sys/unix does not define
// (Linux include/uapi/linux/ptrace.h, v6.18).
const (
	ptraceGetRseqConfiguration = 0x420f
	ptraceSetUserDispatch      = 0x4210 // PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG
	ptraceGetUserDispatch      = 0x4211
	ptracePeekSiginfoShared    = 1
	siginfoSize                = 128
)

// ptrace makes one ptrace(2) request.
func ptrace(req int, tid TID, addr, data uintptr) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func ptraceSeize(tid TID, options int) error {
	return ptrace(unix.PTRACE_SEIZE, tid, 0, uintptr(options))
}

func ptraceSetOptions(tid TID, options int) error {
	return ptrace(unix.PTRACE_SETOPTIONS, tid, 0, uintptr(options))
}

func ptraceInterrupt(tid TID) error {
	return ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0)
}

func ptraceCont(tid TID, sig syscall.Signal) error {
	return ptrace(unix.PTRACE_CONT, tid, 0, uintptr(sig))
}

func ptraceSyscall(tid TID) error {
	return ptrace(unix.PTRACE_SYSCALL, tid, 0, 0)
}

func ptraceDetach(tid TID, sig syscall.Signal) error {
	return ptrace(unix.PTRACE_DETACH, tid, 0, uintptr(sig))
}

func ptraceGetRegs(tid TID, regs *Regs) error {
	return ptrace(unix.PTRACE_GETREGS, tid, 0, uintptr(unsafe.Pointer(regs)))
}

func ptraceSetRegs(tid TID, regs *Regs) error {
	return ptrace(unix.PTRACE_SETREGS, tid, 0, uintptr(unsafe.Pointer(regs)))
}

func ptraceEventMsg(tid TID) (uint64, error) {
	var msg uint64
	err := ptrace(unix.PTRACE_GETEVENTMSG, tid, 0, uintptr(unsafe.Pointer(&msg)))
	return msg, err
}

func ptraceGetSigmask(tid TID) (uint64, error) {
	var mask uint64
	err := ptrace(unix.PTRACE_GETSIGMASK, tid, 8, uintptr(unsafe.Pointer(&mask)))
	return mask, err
}

func ptraceSetSigmask(tid TID, mask uint64) error {
	return ptrace(unix.PTRACE_SETSIGMASK, tid, 8, uintptr(unsafe.Pointer(&mask)))
}

func ptraceGetSiginfo(tid TID) (Siginfo, error) {
	var info Siginfo
	err := ptrace(unix.PTRACE_GETSIGINFO, tid, 0, uintptr(unsafe.Pointer(&info)))
	return info, err
}

// ptraceRegset moves a register set of note type nt; it returns the length
// the kernel used.
func ptraceRegset(req int, tid TID, nt int, buf []byte) (int, error) {
	iov := unix.Iovec{Base: unsafe.SliceData(buf)}
	iov.SetLen(len(buf))
	err := ptrace(req, tid, uintptr(nt), uintptr(unsafe.Pointer(&iov)))
	return int(iov.Len), err
}

// peekSiginfo copies pending signals without taking them off the queue
// (man 2 ptrace, PTRACE_PEEKSIGINFO).
func peekSiginfo(tid TID, shared bool, off uint64, infos []Siginfo) (int, error) {
	args := struct {
		off   uint64
		flags uint32
		nr    int32
	}{off: off, nr: int32(len(infos))}
	if shared {
		args.flags = ptracePeekSiginfoShared
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_PEEKSIGINFO, uintptr(tid),
		uintptr(unsafe.Pointer(&args)), uintptr(unsafe.Pointer(unsafe.SliceData(infos))), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// ptraceRseq reads what the thread registered with rseq(2) (since Linux 5.13).
func ptraceRseq(tid TID) (Rseq, error) {
	var buf [24]byte
	err := ptrace(ptraceGetRseqConfiguration, tid, uintptr(len(buf)), uintptr(unsafe.Pointer(&buf)))
	return Rseq{
		Addr:      Addr(binary.NativeEndian.Uint64(buf[0:])),
		Size:      binary.NativeEndian.Uint32(buf[8:]),
		Signature: binary.NativeEndian.Uint32(buf[12:]),
	}, err
}

// ptraceDispatch gets or sets how the thread handles system calls itself (since
// Linux 6.4).
func ptraceDispatch(req int, tid TID, d *Dispatch) error {
	var buf [32]byte // struct ptrace_sud_config: mode, selector, offset, len
	fields := []*uint64{&d.Mode, (*uint64)(&d.Selector), (*uint64)(&d.Offset), &d.Length}
	for i, f := range fields {
		binary.NativeEndian.PutUint64(buf[8*i:], *f)
	}
	if err := ptrace(req, tid, uintptr(len(buf)), uintptr(unsafe.Pointer(&buf))); err != nil {
		return err
	}
	for i, f := range fields {
		*f = binary.NativeEndian.Uint64(buf[8*i:])
	}
	return nil
}

// ptraceSeccompFilter reads the nth filter of a thread, the oldest being 0.
func ptraceSeccompFilter(tid TID, n int) (program []byte, flags uint64, err error) {
	const insn, most = 8, 4096 // struct sock_filter, BPF_MAXINSNS
	buf := make([]byte, most*insn)
	count, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(tid), uintptr(n),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), 0, 0)
	if errno != 0 {
		return nil, 0, errno
	}
	meta := [2]uint64{uint64(n)} // struct seccomp_metadata: filter_off, flags
	if err := ptrace(unix.PTRACE_SECCOMP_GET_METADATA, tid, unsafe.Sizeof(meta), uintptr(unsafe.Pointer(&meta))); err != nil {
		return nil, 0, err
	}
	return buf[:count*insn], meta[1], nil
}

// robustList is get_robust_list(2) of another thread.
func robustList(tid TID) (head Addr, length uint64, err error) {
	_, _, errno := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, uintptr(tid),
		uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return 0, 0, errno
	}
	return head, length, nil
}

// peekWait sleeps until a tracee or child of this OS thread has something to
// report, and leaves the report where it is (man 2 waitid, WNOWAIT).
func peekWait() (TID, error) {
	const wnothread = 0x20000000
	var info Siginfo
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)),
		unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT|unix.WALL|wnothread, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return TID(info.sender()), nil
}
