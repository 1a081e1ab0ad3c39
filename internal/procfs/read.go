package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// root is where the process file system is mounted.
const root = "/proc"

// ParseError says that a file of /proc is not in the format that this package
// knows.
type ParseError struct {
	File string // path of the file; empty when bytes were parsed
	Line int    // counted from 1; 0 when it is the file as a whole
	Text string // the line, or as much of it as helps
	Msg  string // what is wrong with it
}

// Error names the file, the line and what was wrong with it.
func (e *ParseError) Error() string {
	file := e.File
	if file == "" {
		file = "proc file"
	}
	if e.Line == 0 {
		return fmt.Sprintf("parse %s: %s", file, e.Msg)
	}
	return fmt.Sprintf("parse %s line %d: %s: %q", file, e.Line, e.Msg, e.Text)
}

// lineError reports that line n, counted from 1, is malformed.
func lineError(n int, line []byte, msg string) error {
	const enough = 200
	return &ParseError{Line: n, Text: string(line[:min(len(line), enough)]), Msg: msg}
}

// fileError reports that a file as a whole is malformed.
func fileError(msg string) error {
	return &ParseError{Msg: msg}
}

// Gone reports whether err means that the process, thread or descriptor that
// was asked about no longer exists. Opening a file of a process that was
// reaped gives ENOENT, reading one that was opened before gives ESRCH (Linux
// fs/proc/base.c:proc_single_show, v6.12). So do Exe and OpenPagemap of a
// zombie, which has no memory any more, but whose stat and status can be read.
func Gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}

// buffers holds the read buffers between calls. They grow to the largest file
// seen, so a tree of a thousand processes is read without a thousand buffers.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 64<<10)
	return &b
}}

// readFile reads the file at path and gives its bytes to parse, which must not
// keep them.
func readFile[T any](path string, parse func([]byte) (T, error)) (T, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b, err := appendFile((*buf)[:0], path)
	*buf = b
	if err != nil {
		var none T
		return none, err
	}
	v, err := parse(b)
	return v, inFile(path, err)
}

// inFile completes a ParseError in err with the path of the file.
func inFile(path string, err error) error {
	var pe *ParseError
	if errors.As(err, &pe) {
		pe.File = path
	}
	return err
}

// appendFile appends the contents of the file at path to b. It always reads up
// to the end of file, because a seq_file returns at most one of its own
// buffers, often one page, whatever it was asked for (Linux
// fs/seq_file.c:seq_read_iter, v6.12).
//
// It uses open(2) directly: os.Open would offer every file to the runtime's
// poller first.
func appendFile(b []byte, path string) ([]byte, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return b, err
	}
	defer unix.Close(fd)
	for {
		if cap(b)-len(b) < 4096 {
			b = slices.Grow(b, max(4096, cap(b)))
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return b, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n <= 0 {
			return b, nil
		}
		b = b[:len(b)+n]
	}
}

// open opens path with flags, close-on-exec.
func open(path string, flags int) (int, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// retry calls fn again for as long as a signal interrupts it; the Go runtime
// sends itself some.
func retry(fn func() (int, error)) (int, error) {
	for {
		n, err := fn()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// readLink reads the symbolic link at path. The kernel builds the text in one
// page (Linux fs/proc/base.c:do_proc_readlink, v6.12), so the buffer is enough
// and a longer target is ENAMETOOLONG.
func readLink(path string) (string, error) {
	var buf [unix.PathMax + 1]byte
	n, err := retry(func() (int, error) { return unix.Readlink(path, buf[:]) })
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: path, Err: err}
	}
	return string(buf[:n]), nil
}

// readNumbers lists the directory at path and returns, in ascending order, the
// names that are decimal numbers.
func readNumbers(path string) ([]int, error) {
	fd, err := open(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var numbers []int
	var names []string
	buf := make([]byte, 32<<10)
	for {
		n, err := retry(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil {
			return nil, &fs.PathError{Op: "getdents", Path: path, Err: err}
		}
		if n <= 0 {
			slices.Sort(numbers)
			return numbers, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		numbers = appendNumbers(numbers, names)
	}
}

// appendNumbers appends the names that are decimal numbers to numbers.
func appendNumbers(numbers []int, names []string) []int {
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// pidPath returns the path of a process's file.
func pidPath(pid int, name string) string {
	return root + "/" + strconv.Itoa(pid) + "/" + name
}

// taskPath returns the path of a thread's file.
func taskPath(pid, tid int, name string) string {
	return root + "/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/" + name
}
