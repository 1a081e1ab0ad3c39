package supervisor

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// End ends this process as a program has ended: with its exit status, or by
// the same signal, so that a shell sees what it would have seen. The program
// has dumped its core already, if it was to; this process dumps none.
func End(ws syscall.WaitStatus) {
	if ws.Signaled() {
		// With a program behind core_pattern the limit alone is not heeded
		// (man 5 core), so both.
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
		_ = raiseDefault(ws.Signal())
		os.Exit(128 + int(ws.Signal()))
	}
	os.Exit(ws.ExitStatus())
}
