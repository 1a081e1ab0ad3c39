package task

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// OnThread runs fn on an OS thread of its own, as ptrace demands: a tracee
// answers only to the thread that attached it.
func OnThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with fn
		done <- fn()
	}()
	return <-done
}

// traceNew makes children of a tracee tracees, stopped before their first
// instruction.
const traceNew = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE |
	unix.PTRACE_O_TRACESYSGOOD

// Start starts argv[0] held at its first instruction: a bare process for the
// restore side to build on. It and all that comes of it die with this
// supervisor until Process.KeepOnExit.
func Start(path string, argv []string, attr *syscall.ProcAttr) (*Process, error) {
	a := *attr
	sys := syscall.SysProcAttr{}
	if attr.Sys != nil {
		sys = *attr.Sys
	}
	sys.Ptrace = true
	// Until it is traced with EXITKILL, this is what ends it with us. Infect's
	// caller takes it back (UnbindFromParent).
	sys.Pdeathsig = syscall.SIGKILL
	a.Sys = &sys
	pid, err := forkExec(path, argv, &a)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, &os.PathError{Op: "fork and exec", Path: path, Err: err})
	}
	tid := TID(pid)
	if err := awaitFirstStop(tid); err != nil {
		return nil, err
	}
	const options = traceNew | unix.PTRACE_O_EXITKILL
	if err := ptraceSetOptions(tid, options); err != nil {
		return nil, errors.Join(goneErr("set options of", tid, err), unix.Kill(pid, unix.SIGKILL))
	}
	p := &Process{PID: PID(pid), TGID: PID(pid), options: options}
	if _, err := p.AdoptThread(tid, 0); err != nil {
		return nil, errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	}
	return p, nil
}

// forkExec keeps signals of the keyboard from stopping the child before it has
// executed its program: it is made as by vfork(2), so that we, who are to be
// stopped as well, would wait for it, and a shell for us, for ever.
func forkExec(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	block := unix.Sigset_t{Val: [16]uint64{bit(unix.SIGTSTP) | bit(unix.SIGTTIN) | bit(unix.SIGTTOU)}}
	var old unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old); err != nil {
		return 0, err
	}
	pid, err = syscall.ForkExec(path, argv, attr)
	return pid, errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil))
}

// UnbindFromParent takes back that a process which Start has made dies with
// the OS thread that started it.
func (p *Process) UnbindFromParent() error {
	_, err := p.Call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0)
	return err
}
