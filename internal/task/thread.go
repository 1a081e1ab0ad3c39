package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// Rseq is what a thread registered with rseq(2); the zero value means nothing.
type Rseq struct {
	Addr            Addr
	Size, Signature uint32
}

// Dispatch is a configuration of syscall user dispatch (man 2
// PR_SET_SYSCALL_USER_DISPATCH); Mode 0 means that it is off.
type Dispatch struct {
	Selector, Offset Addr
	Length, Mode     uint64
}

// Thread is a held task: a thread in ptrace-stop.
type Thread struct {
	TID  TID
	ID   ID
	Proc *Process

	// Regs and Mask are what the thread goes on with when it is let go. On
	// the capture side they are the program's own; the restore side sets them.
	Regs Regs
	Mask uint64

	Dispatch Dispatch // in effect on the capture side; the restore side sets it last

	Rseq    Rseq
	Pending []Siginfo // signals sent to this thread alone, oldest first

	filters  []*bpf.VM // of seccomp, in force when we die
	stopped  bool
	group    syscall.Signal   // the job-control signal that stopped it, or 0
	missed   []syscall.Signal // signals that arrived while it was held, to be sent again
	newTasks []TID            // tasks it forked or cloned while held, oldest first
	forks    bool             // what it makes just now are processes, no threads
}

// Alone is the process as one of its threads has it, which may have left what
// the others share: calls run in the thread, and ids and files under /proc are
// those of the thread. It holds nothing by itself.
func (t *Thread) Alone() *Process {
	p := *t.Proc
	p.PID, p.ID, p.Threads = PID(t.TID), t.ID, []*Thread{t}
	return &p
}

// hold reads what a freshly stopped thread was doing.
func (t *Thread) hold() error {
	if err := ptraceGetRegs(t.TID, &t.Regs); err != nil {
		return goneErr("get registers of", t.TID, err)
	}
	mask, err := ptraceGetSigmask(t.TID)
	if err != nil {
		return goneErr("get signal mask of", t.TID, err)
	}
	t.Mask = mask
	if t.Pending, err = peekAll(t.TID, false); err != nil {
		return err
	}
	if t.Rseq, err = ptraceRseq(t.TID); err != nil {
		return goneErr("get rseq of", t.TID, err)
	}
	if err := ptraceDispatch(ptraceGetUserDispatch, t.TID, &t.Dispatch); err != nil && !errors.Is(err, syscall.EIO) {
		return goneErr("get syscall user dispatch of", t.TID, err)
	}
	return t.abortRseq()
}

// abortRseq moves a thread that is inside a restartable sequence to the
// sequence's abort handler, as the kernel does for any preemption (Linux
// kernel/rseq.c:rseq_ip_fixup). The kernel cannot do it itself later: it
// would compare with the parasite's address, and forget the sequence.
func (t *Thread) abortRseq() error {
	const csField = 8 // struct rseq: rseq_cs
	if t.Rseq.Addr == 0 {
		return nil
	}
	var ptr [8]byte
	if err := Read(t.Proc.PID, ptr[:], t.Rseq.Addr+csField); err != nil {
		return nil // the program unmapped it: the kernel would not get further either
	}
	at := Addr(binary.LittleEndian.Uint64(ptr[:]))
	if at == 0 {
		return nil
	}
	var cs [32]byte // struct rseq_cs: version, flags, start_ip, post_commit_offset, abort_ip
	if err := Read(t.Proc.PID, cs[:], at); err != nil {
		return nil
	}
	start := binary.LittleEndian.Uint64(cs[8:])
	length := binary.LittleEndian.Uint64(cs[16:])
	if t.Regs.Rip-start < length {
		t.Regs.Rip = binary.LittleEndian.Uint64(cs[24:])
	}
	return nil
}

// hideStop gives a call back that the kernel ended with EINTR because of our
// stop alone. It is the first thing done to a stopped thread, and done in the
// thread's registers, since it must also hold if we die now.
func (t *Thread) hideStop(regs Regs) error {
	if !regs.spuriousEINTR() {
		return nil
	}
	st, err := procfs.ReadTaskStatus(int(t.Proc.PID), int(t.TID))
	if err != nil {
		return goneErr("read status of", t.TID, err)
	}
	if (st.SigPnd|st.ShdPnd)&^st.SigBlk&st.SigCgt != 0 {
		return nil
	}
	regs = regs.takenUpAgain()
	if err := ptraceSetRegs(t.TID, &regs); err != nil {
		return goneErr("set registers of", t.TID, err)
	}
	return nil
}

// XState reads the extended state (x87, SSE, AVX and on) in the layout of the
// XSAVE area, without its trailing zeros. Its size depends on the CPU, so the
// buffer grows until the kernel does not fill it.
func (t *Thread) XState() ([]byte, error) {
	for size := 4096; ; size *= 2 {
		buf := make([]byte, size)
		n, err := ptraceRegset(unix.PTRACE_GETREGSET, t.TID, ntX86XState, buf)
		if err != nil {
			return nil, goneErr("get extended state of", t.TID, err)
		}
		if n < size {
			return buf[:n], nil
		}
	}
}

// SetXState writes the extended state. A shorter one is filled up with zeros
// to what this CPU has.
func (t *Thread) SetXState(state []byte) error {
	have, err := t.XState()
	if err != nil {
		return err
	}
	if len(state) > len(have) {
		return fmt.Errorf("extended state of task %d: %d bytes, this cpu has %d", t.TID, len(state), len(have))
	}
	full := make([]byte, len(have))
	copy(full, state)
	if _, err := ptraceRegset(unix.PTRACE_SETREGSET, t.TID, ntX86XState, full); err != nil {
		return goneErr("set extended state of", t.TID, err)
	}
	return nil
}

// ntX86XState is NT_X86_XSTATE (Linux include/uapi/linux/elf.h).
const ntX86XState = 0x202

// RobustList is the head of the thread's list of robust futexes and its
// length field (man 2 get_robust_list).
func (t *Thread) RobustList() (Addr, uint64, error) {
	head, length, err := robustList(t.TID)
	if err != nil {
		return 0, 0, goneErr("get robust list of", t.TID, err)
	}
	return head, length, nil
}

// detach lets the thread go on from Regs with Mask. The mask comes first: see
// the package comment.
func (t *Thread) detach() error {
	err := errors.Join(
		ptraceSetSigmask(t.TID, t.Mask),
		ptraceSetRegs(t.TID, &t.Regs),
		ptraceDetach(t.TID, 0))
	if errors.Is(err, syscall.ESRCH) {
		_, err = waitStop(t.TID, true) // reap it, if it is ours to reap
	}
	return err
}

// resend sends the signals again that arrived while the thread was held.
func (t *Thread) resend() {
	for _, sig := range t.missed {
		_ = unix.Tgkill(int(t.Proc.TGID), int(t.TID), sig) // it may have died since
	}
	t.missed = nil
}
