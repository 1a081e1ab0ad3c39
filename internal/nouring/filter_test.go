package nouring

import (
	"encoding/hex"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProgram: the bytes that are in images.
func TestProgram(t *testing.T) {
	const want = "2000000000000000" + "54000000ffffffbf" + "15000001a9010000" + "0600000026000500" + "060000000000ff7f"
	if got := hex.EncodeToString(Program()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestConfine: the thread has no io_uring from then on, and others have what
// they had.
func TestConfine(t *testing.T) {
	setup := func() unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 0, 0, 0)
		return errno
	}
	before := setup()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		err := Confine()
		if errno := setup(); errno != unix.ENOSYS {
			t.Errorf("io_uring_setup: %v", errno)
		}
		status, _ := os.ReadFile("/proc/thread-self/status")
		if !strings.Contains(string(status), "\nSeccomp:\t2\n") {
			t.Errorf("%s", status)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if after := setup(); after != before {
		t.Errorf("in another thread: %v, before %v", after, before)
	}
}
