package procfs

import (
	"bytes"
	"strconv"
	"strings"
)

// Exe returns the path of the program a process runs, with " (deleted)" at the
// end if it was unlinked ([CutDeleted]). A process that has exited, or that is
// the kernel's, gives ENOENT.
func Exe(pid int) (string, error) { return readLink(pidPath(pid, "exe")) }

// Cwd returns the working directory of a process, like [Exe].
func Cwd(pid int) (string, error) { return readLink(pidPath(pid, "cwd")) }

// Root returns the root directory of a process, like [Exe].
func Root(pid int) (string, error) { return readLink(pidPath(pid, "root")) }

// FDLink returns what a file descriptor refers to: a path, like [Exe], or a
// name such as "socket:[123]" or "anon_inode:[eventfd]".
func FDLink(pid, fd int) (string, error) {
	return readLink(pidPath(pid, "fd/"+strconv.Itoa(fd)))
}

// Comm returns the name of a thread.
func Comm(pid, tid int) (string, error) {
	return readFile(taskPath(pid, tid, "comm"), parseComm)
}

// parseComm parses a comm file, which escapes nothing.
func parseComm(b []byte) (string, error) {
	name, ok := bytes.CutSuffix(b, []byte("\n"))
	if !ok {
		return "", fileError("no newline at the end")
	}
	return string(name), nil
}

// Cmdline returns the arguments of a process, as they are in its memory now: a
// program may write over them. It is empty for one without memory.
func Cmdline(pid int) ([]string, error) {
	return readFile(pidPath(pid, "cmdline"), parseCmdline)
}

// parseCmdline parses arguments that end in NUL each; the last may lack it.
func parseCmdline(b []byte) ([]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00"), nil
}

// ReadAuxv returns the auxiliary vector of a process as the kernel keeps it,
// AT_NULL included: pairs of words in the process's own word size.
func ReadAuxv(pid int) ([]byte, error) {
	return readFile(pidPath(pid, "auxv"), func(b []byte) ([]byte, error) {
		return bytes.Clone(b), nil
	})
}

// Personality returns the execution domain and flags of a process, as
// personality(2) does.
func Personality(pid int) (uint64, error) {
	return readFile(pidPath(pid, "personality"), parsePersonality)
}

// ReadValue returns a file of a process that is one short line, such as
// oom_score_adj, without the newline.
func ReadValue(pid int, name string) (string, error) {
	return readFile(pidPath(pid, name), func(b []byte) (string, error) {
		return string(bytes.TrimSpace(b)), nil
	})
}

// parsePersonality parses a hexadecimal number without 0x.
func parsePersonality(b []byte) (uint64, error) {
	line, rest := cutLine(b)
	c := cursor{b: line}
	p := c.hex()
	if !c.done() || len(rest) > 0 {
		return 0, lineError(1, line, "not a number")
	}
	return p, nil
}
