package task

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Part is something that tasks may share, as kcmp(2) calls it (Linux
// include/uapi/linux/kcmp.h).
type Part int

// The parts that clone(2) shares.
const (
	PartMemory   Part = 1 // CLONE_VM
	PartFiles    Part = 2 // CLONE_FILES
	PartFS       Part = 3 // CLONE_FS
	PartHandlers Part = 4 // CLONE_SIGHAND
)

// Compare orders two tasks by which of a part they have; 0 means the same one.
// The order is random, but stable (man 2 kcmp).
func Compare(a, b TID, part Part) (int, error) {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), uintptr(part), 0, 0, 0)
	if errno != 0 {
		return 0, goneErr(fmt.Sprintf("compare task %d with", a), b, errno)
	}
	return []int{0, -1, 1, 2}[order], nil
}
