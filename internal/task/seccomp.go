package task

import (
	"golang.org/x/sys/unix"
)

// SuspendSeccomp takes the thread out of seccomp for as long as it is held, so
// that calls can be made in it. Should we die while one is made, the rest is
// made under the filters again, on which nobody can count: this is the one
// case in which our death may harm a program.
func (t *Thread) SuspendSeccomp() error {
	if err := ptraceSetOptions(t.TID, t.Proc.options|unix.PTRACE_O_SUSPEND_SECCOMP); err != nil {
		return goneErr("suspend seccomp of", t.TID, err)
	}
	return nil
}

// SeccompFilter reads the nth filter, the oldest being 0, and whether what it
// does is logged.
func (t *Thread) SeccompFilter(n int) (program []byte, log bool, err error) {
	program, flags, err := ptraceSeccompFilter(t.TID, n)
	if err != nil {
		return nil, false, goneErr("read seccomp filter of", t.TID, err)
	}
	return program, flags&unix.SECCOMP_FILTER_FLAG_LOG != 0, nil
}
