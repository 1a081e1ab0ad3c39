// Command supervise takes snapshots of running process trees and restarts them.
package main

import (
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"supervise/fdstate"
	"supervise/netstate"
	"supervise/restorer"
	"supervise/virtual"
)

// cli is the command line: one field for each command, one file for each type.
type cli struct {
	Version versionFlag `help:"Print the version and exit."`

	Run         runCmd        `cmd:"" help:"Start a command and stay as its supervisor."`
	Attach      attachCmd     `cmd:"" help:"Become the supervisor of a tree that runs."`
	Checkpoint  checkpointCmd `cmd:"" help:"Take one snapshot of a running tree of processes."`
	Snapshot    snapshotCmd   `cmd:"" help:"Take a snapshot and remove old ones: for cron and timers."`
	Restart     restartCmd    `cmd:"" help:"Bring a tree back from its snapshot."`
	Request     requestCmd    `cmd:"" help:"Ask the supervisor of a tree, from inside it or outside."`
	Ps          psCmd         `cmd:"" help:"List jobs that run, and the age of their snapshots."`
	Images      imagesCmd     `cmd:"" help:"List and remove snapshots."`
	Inspect     inspectCmd    `cmd:"" help:"Show what a snapshot holds."`
	Verify      verifyCmd     `cmd:"" help:"Check a snapshot for damage."`
	Check       checkCmd      `cmd:"" help:"Tell what this user can do on this host."`
	Demo        demoCmd       `cmd:"" help:"Show it at work: run, snapshot, kill, restart."`
	Completion  completionCmd `cmd:"" help:"Print a script that completes commands in a shell."`
	Man         manCmd        `cmd:"" help:"Write the man pages."`
	ShowVersion versionCmd    `cmd:"" name:"version" help:"Print the version."`

	DemoCounter demoCounterCmd `cmd:"" hidden:""`
	Complete    completeCmd    `cmd:"" hidden:"" name:"__complete"`
}

const description = `Take a snapshot of a running tree of unmodified processes, from outside, and bring it back later: after a crash, a reboot, or many times over.`

func main() {
	if os.Args[0] == restorer.InitName {
		// The restorer executes this program to get a process that it holds at
		// its first instruction. It never comes here; should it, it is to be gone.
		os.Exit(exitOther)
	}
	limitMemory()
	switch os.Args[0] {
	case fdstate.PtyHelperName:
		os.Exit(fdstate.PtyHelper())
	case netstate.RepairHelperName:
		os.Exit(netstate.RepairHelper())
	case netstate.HolderName:
		os.Exit(netstate.Holder())
	case fdstate.MqueueHelperName:
		os.Exit(fdstate.MqueueHelper())
	}
	if os.Args[0] == virtual.AnswererName {
		os.Exit(virtual.Answer())
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program but for its exit. It does not return when the
// process is to end by the signal that a program has died by.
func run(args []string, stdout, stderr io.Writer) int {
	out := newOutput(stdout, stderr)
	exited := exitOK
	status := guard(func() error {
		ctx, err := parse(args, out)
		if err != nil {
			return &usageError{err}
		}
		return ctx.Run()
	}, &exited)
	if status == nil {
		return exited
	}
	out.fail(status)
	return exitCode(status)
}

// parse parses the command line. Most are right, and then the grammar of one
// command is enough: that of all takes 3 ms, a fifth of a small restart.
func parse(args []string, out *output) (*kong.Context, error) {
	if command := grammarOf(args); command != nil {
		if ctx, err := newParser(command, out).Parse(args); err == nil {
			return ctx, nil
		}
	}
	return newParser(new(cli), out).Parse(args)
}

// grammarOf is the part of cli that is about the command named first, or nil
// where that is not enough, since somebody may ask for help.
func grammarOf(args []string) any {
	if len(args) == 0 || slices.ContainsFunc(args, asksForHelp) {
		return nil
	}
	field, ok := reflect.TypeFor[cli]().FieldByNameFunc(func(name string) bool { return strings.ToLower(name) == args[0] })
	if _, command := field.Tag.Lookup("cmd"); !ok || !command {
		return nil
	}
	return reflect.New(reflect.StructOf([]reflect.StructField{{Name: field.Name, Type: field.Type, Tag: field.Tag}})).Interface()
}

func asksForHelp(arg string) bool { return arg == "--help" || arg == "-h" }

// newParser makes the parser of the command line, or of one command.
func newParser(commands any, out *output) *kong.Kong {
	return kong.Must(commands,
		kong.Name("supervise"),
		kong.Description(description+"\n\n"+exitHelp),
		kong.Writers(out.stdout, out.stderr),
		kong.Exit(func(status int) { panic(stop{status}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Bind(out),
	)
}

// stop is how kong's exit, after --help and --version, leaves run.
type stop struct{ status int }

// guard runs fn and turns a stop into its status.
func guard(fn func() error, exited *int) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case stop:
			*exited = v.status
		default:
			panic(v)
		}
	}()
	return fn()
}

// usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
