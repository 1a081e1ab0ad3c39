// Package prog is what the test programs in Go share. It is prog.h in Go.
package prog

import (
	"fmt"
	"os"
	"time"
)

// Say appends a line to the log.
func Say(line string) {
	f, err := os.OpenFile(os.Args[2], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		os.Exit(2)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		os.Exit(2)
	}
}

// Fail ends the program.
func Fail(format string, args ...any) {
	Say("FAIL " + fmt.Sprintf(format, args...))
	os.Exit(1)
}

// Check fails unless cond holds.
func Check(cond bool, format string, args ...any) {
	if !cond {
		Fail(format, args...)
	}
}

// Must fails on an error.
func Must[T any](v T, err error) T {
	Check(err == nil, "%v", err)
	return v
}

// Went reports whether the go signal was given.
func Went() bool {
	_, err := os.Stat(os.Args[1])
	return err == nil
}

// ReadyWait says ready and waits for the go signal.
func ReadyWait() {
	Say("ready")
	for !Went() {
		time.Sleep(20 * time.Millisecond)
	}
}

// OK ends the program well.
func OK() {
	Say("ok")
	os.Exit(0)
}
