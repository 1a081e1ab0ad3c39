package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/refuse"
	"supervise/internal/task"
	"supervise/memimg"
	"supervise/restorer"
	"supervise/supervisor"
	"supervise/treestate"
)

// The exit codes. They are part of the interface: scripts rely on them.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitUnsupported = 3
	exitDamaged     = 4
	exitHost        = 5
	exitGone        = 6
	exitStale       = 7
	exitOwn         = 125
	exitCannotRun   = 126
	exitNotFound    = 127
)

// exitCodes explains them; usage and README have it from here.
var exitCodes = []struct {
	Code    int
	Meaning string
}{
	{exitOK, "all went well"},
	{exitOther, "another failure; the message says which"},
	{exitUsage, "the command line is wrong, or a policy file"},
	{exitUnsupported, "refused: the tree has objects that cannot be captured; all are listed"},
	{exitDamaged, "the image is damaged, unfinished, or no snapshot at all"},
	{exitHost, "cannot be restarted on this host or by this user; the message says why"},
	{exitGone, "the tree is gone: no such process or job"},
	{exitStale, "snapshot: the newest good one is older than --max-age"},
	{exitOwn, "run and restart: supervise itself failed, in another way than above"},
	{exitCannotRun, "run: the command cannot be executed"},
	{exitNotFound, "run: the command was not found"},
}

// exitHelp is the part of the usage on exit codes.
var exitHelp = func() string {
	var b strings.Builder
	b.WriteString("Exit codes (run and a restart in the foreground end as the program did, by its signal too):\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "\n  %3d  %s", c.Code, c.Meaning)
	}
	return b.String()
}()

// exitCode gives the exit code of an error.
func exitCode(err error) int {
	var (
		usage *usageError
		name  *supervisor.NameError
		host  *restorer.HostError
		start *supervisor.StartError
		own   *ownError
		coded *codedError
		none  *supervisor.NoImageError
		stale *supervisor.StaleError
		rules *supervisor.PolicyError
	)
	switch {
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &usage), errors.As(err, &rules):
		return exitUsage
	case errors.As(err, &start) && start.NotFound():
		return exitNotFound
	case errors.As(err, &start):
		return exitCannotRun
	case errors.Is(err, refuse.ErrUnsupported):
		return exitUnsupported
	case errors.Is(err, memimg.ErrDamaged), errors.Is(err, memimg.ErrUnfinished),
		errors.Is(err, treestate.ErrMalformed), isMissingImage(err), errors.As(err, &none):
		return exitDamaged
	case errors.As(err, &host), errors.Is(err, memimg.ErrNewerFormat):
		return exitHost
	case errors.As(err, &own):
		return exitOwn
	case errors.As(err, &name):
		return exitUsage
	case errors.Is(err, task.ErrGone), errors.Is(err, supervisor.ErrNoJob):
		return exitGone
	case errors.As(err, &stale):
		return exitStale
	}
	return exitOther
}

// ownError marks a failure of a command that otherwise ends as a program did.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// codedError is an end that needs no more words than were printed.
type codedError struct {
	code int
	msg  string // may be empty
}

func (e *codedError) Error() string { return e.msg }

// imageError is a failure to get at an image that a user has named.
type imageError struct {
	image *supervisor.FoundImage
	err   error
}

func (e *imageError) Error() string {
	if errors.Is(e.err, fs.ErrNotExist) && !errors.Is(e.err, memimg.ErrUnfinished) && !errors.Is(e.err, memimg.ErrDamaged) {
		return e.image.Dir + ": there is no such image"
	}
	return e.err.Error()
}

func (e *imageError) Unwrap() error { return e.err }

// isMissingImage reports whether an image is not there, or is no directory.
func isMissingImage(err error) bool {
	var image *imageError
	return errors.As(err, &image) && (errors.Is(image.err, fs.ErrNotExist) || errors.Is(image.err, unix.ENOTDIR))
}

// hint gives advice on an error, or nothing.
func hint(err error) string {
	var (
		host *restorer.HostError
		name *supervisor.NameError
	)
	var start *supervisor.StartError
	var image *imageError
	var held *supervisor.SupervisedError
	var traced *task.TracedError
	var rules *supervisor.PolicyError
	switch {
	case errors.As(err, &image) && image.image.Older != "" && errors.Is(err, memimg.ErrDamaged):
		return "the good one before it is " + image.image.Older
	case errors.As(err, &start):
		return ""
	case errors.As(err, &host):
		return host.Hint
	case errors.Is(err, supervisor.ErrInside):
		return "run it from outside the tree, such as another terminal"
	case errors.As(err, &rules) && rules.OfJob:
		return "--policy names another, and --policy /dev/null none"
	case errors.As(err, &traced):
		return fmt.Sprintf("a process has one tracer at a time: end or detach the debugger or strace that pid %d is", traced.Tracer)
	case errors.As(err, &held):
		return "end that one first, or name the job in checkpoint and snapshot"
	case errors.Is(err, supervisor.ErrNoJob):
		return "give a pid, or the directory of the job with --dir"
	case errors.As(err, &name):
		return "choose another name with --name"
	case errors.Is(err, memimg.ErrNotEmpty):
		return "--image takes a new or an empty directory"
	case errors.Is(err, memimg.ErrNewerFormat):
		return "use the version of supervise that wrote it, or a later one"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "the device is full; name another place with --image or --dir"
	case errors.Is(err, fs.ErrPermission):
		return "supervise check tells what this user can do here"
	}
	return ""
}
