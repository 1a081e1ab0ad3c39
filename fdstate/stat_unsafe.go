package fdstate

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// stat queues fstat(2) of a descriptor, for check to look at.
func (o *Opener) stat(num int, check func(*unix.Stat_t) error) {
	var st unix.Stat_t
	o.Call("fstat", unix.SYS_FSTAT, num, unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)))
	o.Then(func() error { return check(&st) })
}
