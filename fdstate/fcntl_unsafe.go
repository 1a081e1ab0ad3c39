package fdstate

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownerEx is struct f_owner_ex (man 2 fcntl, F_GETOWN_EX).
type ownerEx struct {
	Type int32
	PID  int32
}

// getOwner reads whom a description signals, as our pid namespace shows it.
func getOwner(fd int) (o ownerEx, err error) {
	_, _, errno := unix.Syscall(unix.SYS_FCNTL, uintptr(fd), unix.F_GETOWN_EX, uintptr(unsafe.Pointer(&o)))
	if errno != 0 {
		return o, fmt.Errorf("fcntl F_GETOWN_EX: %w", errno)
	}
	return o, nil
}
