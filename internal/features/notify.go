package features

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// probeSeccompNotify installs a filter with a listener in a bare process. The
// process that listens sees the arguments of calls only if it may attach.
func probeSeccompNotify(b *bench) error {
	if err := probeAttach(b); err != nil {
		return err
	}
	return build(false, false, func(p *task.Process) error {
		if _, err := p.Call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
		const size = 16 // struct sock_fprog, with one instruction behind it
		prog := make([]byte, size+8)
		binary.LittleEndian.PutUint16(prog, 1)
		binary.LittleEndian.PutUint16(prog[size:], unix.BPF_RET|unix.BPF_K)
		binary.LittleEndian.PutUint32(prog[size+4:], unix.SECCOMP_RET_ALLOW)
		flags := unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		_, err := p.Call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
			task.Struct{Bytes: prog, Pointers: []task.Pointer{{At: 8, To: size}}})
		return os.NewSyscallError("seccomp", err)
	})
}

// enableSeccompNotify knows the older kernels, and the listener further up.
func enableSeccompNotify(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return "a place outside of another filter with a listener"
	case errors.Is(err, unix.EINVAL):
		return "a newer kernel"
	}
	return enablePtrace(err)
}
