package task

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exec has a held bare process of one thread execute a program, and holds it at
// its first instruction, as Start does: its address space and its signal
// handlers are its own then, and nothing of us is in them.
//
// Precondition: the process was not seized, so that the kernel sends SIGTRAP
// when the program is there (man 2 ptrace, "execve(2) under ptrace").
func (p *Process) Exec(path, argv0 string) error {
	const pointers = 16 // argv[0] and the end
	argv := Struct{Bytes: make([]byte, pointers), Pointers: []Pointer{{At: 0, To: pointers}}}
	argv.Bytes = append(append(argv.Bytes, argv0...), 0)
	var b Batch
	call := b.Add(unix.SYS_EXECVE, path, argv, make([]byte, 8))
	t, s := p.Leader(), p.space
	stop := t.stopRow()
	table := encode(b.calls, stop, s.table(), p.Aliases)
	if err := Write(p.PID, s.table(), table); err != nil {
		return err
	}
	regs := parasiteRegs(t.Regs, s.code, s.table(), s.frame(), len(b.calls)+1, true)
	if err := ptraceSetRegs(t.TID, &regs); err != nil {
		return goneErr("set registers of", t.TID, err)
	}
	if err := ptraceSetSigmask(t.TID, allSignals&^bit(unix.SIGTRAP)&^bit(p.stopSignal)); err != nil {
		return goneErr("set signal mask of", t.TID, err)
	}
	if err := ptraceCont(t.TID, 0); err != nil {
		return goneErr("execute a program in", t.TID, err)
	}
	st, err := t.wait()
	switch {
	case err != nil:
		return err
	case st.kind == stopSignal && st.signal == syscall.SIGTRAP:
	case st.kind == stopSignal && st.signal == p.stopSignal: // the row behind it ran
		if err := Read(p.PID, table, s.table()); err != nil {
			return err
		}
		decode(b.calls, table)
		return &CallError{Name: callName(call.Nr), TID: t.TID, Errno: syscall.Errno(-call.Ret)}
	default:
		return fmt.Errorf("execute a program in task %d: unexpected stop %v", t.TID, st)
	}
	p.space = nil
	if err := ptraceGetRegs(t.TID, &t.Regs); err != nil {
		return goneErr("get registers of", t.TID, err)
	}
	return nil
}
