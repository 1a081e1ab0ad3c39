package fdstate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"
)

// FirstHelperFD is a helper's first descriptor of what it is about.
const FirstHelperFD = 3

// RunHelper runs this program under a name by which its main function knows
// what to do, as a process that does not share our fate: in a session of its
// own, so that nothing but its end can interrupt it. It gets descriptors from
// FirstHelperFD on, and its answer is decoded. They are handed over as they are:
// an os.File would change their O_NONBLOCK, and so the program's.
func RunHelper(name string, fds []int, answer any) error {
	var out [2]int
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	from := os.NewFile(uintptr(out[0]), "answer")
	defer from.Close()
	attr := &syscall.ProcAttr{Env: []string{}, Files: []uintptr{uintptr(out[1]), uintptr(out[1]), 2}, Sys: &syscall.SysProcAttr{Setsid: true}}
	for _, fd := range fds {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{name}, attr)
	unix.Close(out[1])
	if err != nil {
		return fmt.Errorf("start the helper: %w", err)
	}
	data, err := io.ReadAll(from)
	var status unix.WaitStatus
	for {
		if _, waitErr := unix.Wait4(pid, &status, 0, nil); waitErr != unix.EINTR {
			break
		}
	}
	if err != nil || status != 0 {
		return errors.Join(err, fmt.Errorf("the helper ended with status %#x", uint32(status)))
	}
	return cbor.Unmarshal(data, answer)
}

// AnswerAsHelper writes a helper's answer, and gives its exit code.
func AnswerAsHelper(answer any) int {
	data, err := cbor.Marshal(answer)
	if err == nil {
		_, err = os.Stdout.Write(data)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
