package integration

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unlinkQueue is mq_unlink(3), for a queue that may be gone.
func unlinkQueue(t testing.TB, name string) {
	p, err := unix.BytePtrFromString(name)
	must(t, err)
	unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0)
}
