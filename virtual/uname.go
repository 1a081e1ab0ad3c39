package virtual

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// uname answers uname(2), from which gethostname(3) has the name. Who has gone
// to another UTS namespace has a name of its own there.
func (a *answerer) uname(t *caller) answer {
	if uts, err := os.Readlink(t.proc("ns/uts")); err != nil || uts != a.uts {
		return pass
	}
	kernel, err := utsname(t)
	if err != nil || !t.still() {
		return pass
	}
	kernel.Nodename = [len(kernel.Nodename)]byte{}
	copy(kernel.Nodename[:len(kernel.Nodename)-1], a.rules.Hostname)
	return failed(t.write(t.args[0], unameBytes(&kernel)))
}

// utsname gives what the kernel would have said. That depends on the caller's
// personality, which is a thread's.
func utsname(t *caller) (name unix.Utsname, err error) {
	text, err := os.ReadFile(t.proc("personality"))
	if err != nil {
		return name, err
	}
	persona, err := strconv.ParseUint(strings.TrimSpace(string(text)), 16, 32)
	if err != nil {
		return name, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const relevant = 0x00200ff // UNAME26 and PER_MASK (Linux include/uapi/linux/personality.h)
	if persona &= relevant; persona != 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, uintptr(persona), 0, 0)
		defer func() { _, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, 0, 0, 0) }()
	}
	err = unix.Uname(&name)
	return name, err
}
