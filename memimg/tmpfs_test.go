package memimg

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// tmpfs returns a directory with this much room (as tmpfs's size option says
// it): a file system mounted nowhere, that is gone when the test has ended.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a small file system")
	}
	mount, err := detachedTmpfs(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(mount) })
	return fmt.Sprintf("/proc/self/fd/%d", mount)
}

func detachedTmpfs(size string) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "size", size); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

// quickDir is a directory in memory where that can be had, for tests that
// change files thousands of times.
func quickDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return t.TempDir()
	}
	return tmpfs(t, "16m")
}
