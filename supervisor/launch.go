package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// StartError says that a command could not be started. errors.Is tells whether
// it was not found (fs.ErrNotExist) or could not be executed.
type StartError struct {
	Command string
	Err     error
}

func (e *StartError) Error() string { return fmt.Sprintf("start %s: %v", e.Command, e.Err) }
func (e *StartError) Unwrap() error { return e.Err }

// NotFound reports whether there is no such command.
func (e *StartError) NotFound() bool {
	return errors.Is(e.Err, unix.ENOENT) || errors.Is(e.Err, unix.ENOTDIR)
}

// launch starts argv as execvp(3) would: argv[0] is looked for in $PATH unless
// it has a slash, and a file that the kernel does not know how to run is given
// to the shell.
func launch(argv, environ []string) (pid int, err error) {
	err = unix.ENOENT
	inPath := !strings.Contains(argv[0], "/")
	for _, path := range candidates(argv[0], os.Getenv("PATH")) {
		// A directory of $PATH that this user may not search has nothing for them.
		if inPath && unix.Access(path, unix.F_OK) != nil {
			continue
		}
		pid, e := startFile(path, argv, environ)
		switch {
		case e == nil:
			return pid, nil
		case errors.Is(e, unix.ENOENT), errors.Is(e, unix.ENOTDIR):
		case errors.Is(e, unix.EACCES):
			err = e // there may be another one further on
		default:
			return 0, &StartError{argv[0], e}
		}
	}
	return 0, &StartError{argv[0], err}
}

// candidates lists the files that a command may mean.
func candidates(command, path string) []string {
	if command == "" {
		return nil
	}
	if strings.Contains(command, "/") {
		return []string{command}
	}
	if path == "" {
		path = "/bin:/usr/bin" // as execvp of glibc
	}
	var files []string
	for dir := range strings.SplitSeq(path, ":") {
		files = append(files, filepath.Join(dir, command))
		if dir == "" || dir == "." {
			files[len(files)-1] = "./" + command
		}
	}
	return files
}

// startFile forks and executes one file.
func startFile(path string, argv, environ []string) (pid int, err error) {
	attr := &syscall.ProcAttr{Env: environ, Files: []uintptr{0, 1, 2}}
	pid, err = syscall.ForkExec(path, argv, attr)
	if errors.Is(err, unix.ENOEXEC) {
		script := append([]string{argv[0], path}, argv[1:]...)
		pid, err = syscall.ForkExec("/bin/sh", script, attr)
	}
	return pid, err
}
