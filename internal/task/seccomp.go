package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// SeccompFilter is a filter that a thread is under.
type SeccompFilter struct {
	Program []byte // an array of struct sock_filter
	Log     bool   // SECCOMP_FILTER_FLAG_LOG
}

// FilteredError says that a call which is to be made in a thread would end the
// program, or be answered by somebody else, if the thread's filters had a say.
// They have none while the thread is held (SuspendSeccomp), but have it again
// at the instant at which we die: then what is left of the batch, and the way
// home, would be under them.
type FilteredError struct {
	TID    TID
	Call   string
	Action uint32 // SECCOMP_RET_*
}

func (e *FilteredError) Error() string {
	return fmt.Sprintf("a filter of task %d forbids %s (action %#x), which is called in it", e.TID, e.Call, e.Action)
}

// SuspendSeccomp takes the thread out of seccomp for as long as it is held, so
// that calls can be made in it.
func (t *Thread) SuspendSeccomp() error {
	if err := ptraceSetOptions(t.TID, t.Proc.options|unix.PTRACE_O_SUSPEND_SECCOMP); err != nil {
		return goneErr("suspend seccomp of", t.TID, err)
	}
	return nil
}

// ReadSeccomp reads the n filters of a thread, the oldest first. From then on
// no call is made in it that they would punish: Run gives a *FilteredError.
func (t *Thread) ReadSeccomp(n int) ([]SeccompFilter, error) {
	var filters []SeccompFilter
	t.filters = nil
	for i := range n {
		program, flags, err := ptraceSeccompFilter(t.TID, i)
		if err != nil {
			return nil, goneErr("read seccomp filter of", t.TID, err)
		}
		vm, err := newFilterVM(program)
		if err != nil {
			return nil, fmt.Errorf("seccomp filter %d of task %d: %w", i, t.TID, err)
		}
		t.filters = append(t.filters, vm)
		filters = append(filters, SeccompFilter{program, flags&unix.SECCOMP_FILTER_FLAG_LOG != 0})
	}
	return filters, nil
}

// newFilterVM makes a filter ready to be asked.
func newFilterVM(program []byte) (*bpf.VM, error) {
	const size = 8 // struct sock_filter: code, jt, jf, k
	var raw []bpf.RawInstruction
	for b := range slices.Chunk(program, size) {
		raw = append(raw, bpf.RawInstruction{
			Op: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:]),
		})
	}
	insns, all := bpf.Disassemble(raw)
	if !all {
		return nil, errors.New("an instruction is not known")
	}
	return bpf.NewVM(insns)
}

// auditArch is AUDIT_ARCH_X86_64 (Linux include/uapi/linux/audit.h).
const auditArch = 0xc000003e

// seccompAction gives what the filters would do about a call made at ip: the
// most severe of their answers (Linux kernel/seccomp.c:seccomp_run_filters,
// v6.18). Filters load words of struct seccomp_data in the host's byte order,
// packet filters in the network's, so every word is turned around.
func seccompAction(filters []*bpf.VM, nr uint64, ip Addr, args []uint64) (uint32, error) {
	data := binary.BigEndian.AppendUint32(nil, uint32(nr))
	data = binary.BigEndian.AppendUint32(data, auditArch)
	for _, v := range append([]uint64{uint64(ip)}, args...) {
		data = binary.BigEndian.AppendUint32(data, uint32(v))
		data = binary.BigEndian.AppendUint32(data, uint32(v>>32))
	}
	worst := int32(unix.SECCOMP_RET_ALLOW)
	for _, f := range filters {
		ret, err := f.Run(data)
		if err != nil {
			return 0, err
		}
		worst = min(worst, int32(uint32(ret)&unix.SECCOMP_RET_ACTION_FULL))
	}
	return uint32(worst), nil
}

// checkFilters wants that no filter of the thread would harm the program for
// one of the rows of a table, or for the way home. A call that would only fail
// is none of ours any more when we are dead; but the way home must succeed.
func (t *Thread) checkFilters(code Addr, rows []byte, frame Addr) error {
	if len(t.filters) == 0 {
		return nil
	}
	home := appendRow(nil, unix.SYS_RT_SIGPROCMASK, [6]uint64{unix.SIG_SETMASK, uint64(frame) + frameMask, 0, 8})
	for row := range slices.Chunk(append(slices.Clone(rows), home...), rowSize) {
		var v [7]uint64
		for i := range v {
			v[i] = binary.LittleEndian.Uint64(row[8*i:])
		}
		numbers, must := v[:1], v[0] == unix.SYS_RT_SIGPROCMASK
		if uintptr(v[0]) == callRow {
			numbers, must = ringCalls, true
		}
		for _, nr := range numbers {
			if err := t.checkCall(nr, code, v[1:], must); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkCall wants that the filters would not harm the program for one call. One that
// must succeed they may not let fail, either.
func (t *Thread) checkCall(nr uint64, ip Addr, args []uint64, must bool) error {
	action, err := seccompAction(t.filters, nr, ip, args)
	if err != nil {
		return fmt.Errorf("ask the seccomp filters of task %d: %w", t.TID, err)
	}
	switch {
	case action == unix.SECCOMP_RET_ALLOW, action == unix.SECCOMP_RET_LOG,
		action == unix.SECCOMP_RET_ERRNO && !must:
		return nil
	}
	return &FilteredError{TID: t.TID, Call: callName(uintptr(nr)), Action: action}
}
