package features

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// cloneSetTID is clone3(2) with set_tid. tid is in use, so that it fails.
func cloneSetTID(tid int) error {
	args := task.CloneArgs(0, int(unix.SIGCHLD), task.ID(tid))
	for _, p := range args.Pointers {
		binary.LittleEndian.PutUint64(args.Bytes[p.At:], uint64(uintptr(unsafe.Pointer(&args.Bytes[p.To]))))
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args.Bytes[0])), task.CloneArgsSize, 0)
	runtime.KeepAlive(args)
	if errno == 0 {
		os.Exit(1) // cannot be: a child that must not go on, or a parent with one
	}
	return errno
}

// probeMMMap asks for the size of the struct, which a kernel without the call
// does not know.
func probeMMMap(*bench) error {
	var size uint32
	_, _, errno := unix.Syscall6(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP_SIZE, uintptr(unsafe.Pointer(&size)), 0, 0, 0)
	if err := callError("prctl PR_SET_MM_MAP_SIZE", errno); err != nil {
		return err
	}
	if size != mmMapSize {
		return fmt.Errorf("struct prctl_mm_map has %d bytes, not %d", size, mmMapSize)
	}
	return nil
}

// probeVMAName names a page.
func probeVMAName(*bench) error {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	defer unix.Munmap(page)
	name := []byte("supervise\x00")
	_, _, errno := unix.Syscall6(unix.SYS_PRCTL, unix.PR_SET_VMA, unix.PR_SET_VMA_ANON_NAME,
		uintptr(unsafe.Pointer(&page[0])), uintptr(len(page)), uintptr(unsafe.Pointer(&name[0])), 0)
	return callError("prctl PR_SET_VMA_ANON_NAME", errno)
}
