package virtual

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyLine is what the answerer says when it answers.
const readyLine = "ready\n"

// StartAnswerer starts the process that answers for a listener, which it gets
// for its own. It is a child of ours, and none that anybody need wait for: it
// ends after the tree.
func (r *Rules) StartAnswerer(listener int) error {
	rules, err := r.rulesFile()
	if err != nil {
		return err
	}
	defer unix.Close(rules)
	var ready [2]int
	if err := unix.Pipe2(ready[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	said := os.NewFile(uintptr(ready[0]), "ready")
	defer said.Close()
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		dev := uintptr(null)
		_, err = syscall.ForkExec("/proc/self/exe", []string{AnswererName}, &syscall.ProcAttr{
			Dir:   "/",
			Env:   []string{"GOMAXPROCS=2", "GOGC=50"},
			Files: []uintptr{dev, dev, dev, uintptr(rules), uintptr(listener), uintptr(ready[1])},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
		unix.Close(null)
	}
	unix.Close(ready[1])
	if err != nil {
		return fmt.Errorf("start the answerer: %w", err)
	}
	text, err := io.ReadAll(said)
	if err == nil && string(text) != readyLine {
		err = errors.New("it says " + string(text))
	}
	if err != nil {
		return fmt.Errorf("start the answerer: %w", err)
	}
	return nil
}

// rulesFile is a file with the rules.
func (r *Rules) rulesFile() (int, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return -1, err
	}
	fd, err := unix.MemfdCreate("rules", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	_, err = unix.Write(fd, b)
	if err == nil {
		_, err = unix.Seek(fd, 0, io.SeekStart)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("write rules: %w", err), unix.Close(fd))
	}
	return fd, nil
}
