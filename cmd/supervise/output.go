package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"supervise/tracer"
)

// output is where a command speaks. Results go to stdout. Errors go to stderr
// as lines that begin with "supervise: ". Other news go there, too: as lines for
// people on a terminal, and as JSON otherwise.
type output struct {
	stdout, stderr io.Writer
	terminal       bool // stderr is one
	log            zerolog.Logger
}

func newOutput(stdout, stderr io.Writer) *output {
	o := &output{stdout: stdout, stderr: stderr, terminal: isTerminal(stderr)}
	var sink io.Writer = stderr
	if o.terminal {
		sink = zerolog.ConsoleWriter{Out: stderr, NoColor: true, PartsOrder: []string{zerolog.MessageFieldName},
			FormatMessage: func(msg any) string { return fmt.Sprintf("supervise: %s", msg) }}
	}
	o.log = zerolog.New(sink).With().Timestamp().Logger()
	return o
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// fail prints an error, advice on it, and what became of the tree.
func (o *output) fail(err error) {
	if msg := err.Error(); msg != "" {
		fmt.Fprintf(o.stderr, "supervise: %s\n", strings.ReplaceAll(msg, "\n", "\nsupervise: "))
	}
	if h := hint(err); h != "" {
		fmt.Fprintf(o.stderr, "supervise: hint: %s\n", h)
	}
	var state *tracer.StateError
	if errors.As(err, &state) {
		fmt.Fprintf(o.stderr, "supervise: process tree %d %s\n", state.PID, state.State)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(o.stderr, "supervise: hint: supervise --help lists commands and flags")
	}
}

// json prints a value as one indented JSON document.
func (o *output) json(v any) error {
	e := json.NewEncoder(o.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printf prints a part of the result.
func (o *output) printf(format string, args ...any) {
	fmt.Fprintf(o.stdout, format, args...)
}
