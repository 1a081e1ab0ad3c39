// Package refuse collects what a snapshot cannot hold, so that a user is told
// everything at once and before anything is written.
package refuse

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrUnsupported is what every Error is (errors.Is).
var ErrUnsupported = errors.New("not supported")

// Object is one thing that cannot be captured.
type Object struct {
	PID  int    `json:"pid"`  // host pid of a process that has it
	Comm string `json:"comm"` // that process's command
	What string `json:"what"` // "fd 7 (socket:[456])", "mapping 7f00-7f01 (/dev/dri/card0)"
	Why  string `json:"why"`  // "tcp socket in state SYN_SENT"
	Hint string `json:"hint"` // what the user can do, may be empty

	// Passing: it may be gone when the tree has run for a moment.
	Passing bool `json:"-"`
}

func (o Object) String() string {
	return fmt.Sprintf("pid %d (%s): %s: %s: not supported", o.PID, o.Comm, o.What, o.Why)
}

// Error is the whole list.
type Error struct {
	Objects []Object
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d object(s) cannot be captured", len(e.Objects))
	for _, o := range e.Objects {
		b.WriteString("\n  " + o.String())
		if o.Hint != "" {
			b.WriteString("\n    hint: " + o.Hint)
		}
	}
	return b.String()
}

// Is makes errors.Is(err, ErrUnsupported) hold.
func (e *Error) Is(target error) bool { return target == ErrUnsupported }

// Passing tells whether everything in the list may pass by itself.
func (e *Error) Passing() bool {
	return !slices.ContainsFunc(e.Objects, func(o Object) bool { return !o.Passing })
}

// List gathers objects. The zero List is empty and ready for use.
type List struct {
	objects []Object
}

// Add appends one object.
func (l *List) Add(o Object) { l.objects = append(l.objects, o) }

// Err gives the list as an *Error, or nil when it is empty.
func (l *List) Err() error {
	if len(l.objects) == 0 {
		return nil
	}
	return &Error{Objects: l.objects}
}
