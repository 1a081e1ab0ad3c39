package supervisor

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

//lint:file-ignore U1000 what looks unused here is used in assembler

// sigRelay is in relay_amd64.s; only the kernel calls it.
func sigRelay()

// What sigRelay reads. They are set before it is installed.
var (
	relayFD        int32   // write end of the pipe, non-blocking
	relayPID       int32   // this process
	runtimeHandler uintptr // of the Go runtime
	runtimeSignals uint64  // those that the runtime needs when the kernel raises them; bit 0 is signal 1
)

// sigRelayStart is the address of sigRelay, set by the assembler.
var sigRelayStart uintptr

// relayAction is how sigRelay is installed.
var relayAction sigaction

// sigaction is the kernel's struct sigaction (Linux
// arch/x86/include/uapi/asm/signal.h, v6.12).
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	saSiginfo  = 0x4
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
	saRestorer = 0x04000000
)

// rtSigaction is rt_sigaction(2). set and old may be nil.
func rtSigaction(sig syscall.Signal, set, old *sigaction) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(set.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("rt_sigaction of signal %d: %w", sig, errno)
	}
	return nil
}

// setMask makes mask the signal mask of this thread and gives the old one. The
// caller has locked its goroutine to the thread.
func setMask(mask uint64) (old uint64, err error) {
	const setmask = 2 // SIG_SETMASK
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, setmask,
		uintptr(unsafe.Pointer(&mask)), uintptr(unsafe.Pointer(&old)), unsafe.Sizeof(mask), 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("rt_sigprocmask: %w", errno)
	}
	return old, nil
}

// installRelay puts sigRelay in front of the Go runtime's handler for every
// signal that can be caught, with pipe as its way out.
func installRelay(pipe int) error {
	var runtime sigaction
	// The runtime handles SIGSEGV always, and nobody can make it ignore it.
	if err := rtSigaction(unix.SIGSEGV, nil, &runtime); err != nil {
		return err
	}
	relayFD, relayPID = int32(pipe), int32(os.Getpid())
	runtimeHandler, runtimeSignals = runtime.handler, runtimeOwn
	relayAction = sigaction{
		handler:  sigRelayStart,
		flags:    saSiginfo | saOnStack | saRestart | saRestorer,
		restorer: runtime.restorer,
		mask:     ^uint64(0),
	}
	for _, sig := range catchable() {
		if err := rtSigaction(sig, &relayAction, nil); err != nil {
			return err
		}
	}
	return nil
}

// sendInfo sends a signal with its siginfo to the process of a pidfd.
func sendInfo(pidfd int, sig syscall.Signal, info *siginfo) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(pidfd), uintptr(sig),
		uintptr(unsafe.Pointer(info)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("pidfd_send_signal: %w", errno)
	}
	return nil
}
