package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lastSignal is the highest signal number, SIGRTMAX.
const lastSignal = 64

// runtimeOwn are the signals that the Go runtime must see when the kernel
// raises them: faults of our own, and the end of a child.
const runtimeOwn = 1<<(unix.SIGILL-1) | 1<<(unix.SIGTRAP-1) | 1<<(unix.SIGBUS-1) | 1<<(unix.SIGFPE-1) |
	1<<(unix.SIGSEGV-1) | 1<<(unix.SIGSYS-1) | 1<<(unix.SIGCHLD-1)

// catchable lists the signals that can have a handler.
func catchable() []syscall.Signal {
	var all []syscall.Signal
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if sig != unix.SIGKILL && sig != unix.SIGSTOP {
			all = append(all, sig)
		}
	}
	return all
}

// siginfo is the kernel's siginfo_t.
type siginfo [128]byte

func (s *siginfo) signal() syscall.Signal { return syscall.Signal(binary.LittleEndian.Uint32(s[0:])) }
func (s *siginfo) code() int32            { return int32(binary.LittleEndian.Uint32(s[8:])) }
func (s *siginfo) pid() int               { return int(int32(binary.LittleEndian.Uint32(s[16:]))) }

// queued reports whether the signal came by sigqueue(3) or the like, with data
// that the program gets to see, and which another process may pass on. A kill(2)
// it may not (Linux kernel/signal.c:do_rt_sigqueueinfo, v6.12).
func (s *siginfo) queued() bool { return s.code() < 0 && s.code() != siTkill }

const (
	siUser   = 0    // SI_USER: kill(2)
	siTkill  = -6   // SI_TKILL
	siKernel = 0x80 // SI_KERNEL
)

// relay gives the signals that are sent to this process, with their siginfo.
// os/signal would drop the siginfo, and with it whether a SIGINT came from the
// keyboard, which has sent it to the program too.
type relay struct {
	pipe *os.File
}

// startRelay puts an end to the signals' own actions: from now on they are
// only reported.
func startRelay() (*relay, error) {
	const room = 1 << 20 // of siginfos nobody has read yet; what exceeds it is lost
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("pipe for signals: %w", err)
	}
	// A smaller pipe does, too: root has no limit, users may be over theirs.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, room)
	if err := installRelay(fds[1]); err != nil {
		return nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return &relay{pipe: os.NewFile(uintptr(fds[0]), "signals")}, nil
}

// next waits for a signal.
func (r *relay) next() (*siginfo, error) {
	s := new(siginfo)
	if _, err := io.ReadFull(r.pipe, s[:]); err != nil {
		return nil, fmt.Errorf("read signals: %w", err)
	}
	return s, nil
}

// raiseDefault raises sig in this process with its default action, and comes
// back if that was to stop it, after it goes on.
func raiseDefault(sig syscall.Signal) error {
	if sig != unix.SIGKILL && sig != unix.SIGSTOP {
		if err := rtSigaction(sig, &sigaction{}, nil); err != nil {
			return err
		}
	}
	return raise(sig)
}
