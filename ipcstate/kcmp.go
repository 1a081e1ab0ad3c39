package ipcstate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// kcmpSemUndo is KCMP_SYSVSEM (Linux include/uapi/linux/kcmp.h).
const kcmpSemUndo = 6

// kcmp compares the lists of two threads for SEM_UNDO: 0 the same, else an
// order (man 2 kcmp).
func kcmp(a, b task.TID) (int, error) {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpSemUndo, 0, 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("kcmp task %d and %d: %w", a, b, errno)
	}
	return []int{0, -1, 1, 1}[order&3], nil
}
