package memstate

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// errNotShown says that a mapping does not show what counts of its file.
var errNotShown = errors.New("the mapping does not show the file")

// mappedFileID takes the identity of a file from a private mapping of its front
// that the program has not written to.
func mappedFileID(pid task.PID, v *procfs.VMA, st *unix.Stat_t) (FileID, error) {
	if v.Offset != 0 || !v.Read {
		return FileID{}, errNotShown
	}
	if written, err := writtenTo(pid, v); err != nil || written {
		return FileID{}, errors.Join(errNotShown, err)
	}
	return fileID(&mappedFile{pid: pid, at: task.Addr(v.Start), size: min(int64(v.Len()), st.Size), whole: int64(v.Len()) >= st.Size}, st)
}

// writtenTo tells whether pages of a private mapping are not the file's.
func writtenTo(pid task.PID, v *procfs.VMA) (written bool, err error) {
	pm, err := procfs.OpenPagemap(int(pid))
	if err != nil {
		return false, err
	}
	defer pm.Close()
	query := procfs.ScanQuery{Inverted: procfs.PageIsFile, Mask: procfs.PageIsFile, AnyOf: procfs.PageIsPresent | procfs.PageIsSwapped}
	err = pm.Scan(v.Start, v.End, query, func(uint64, uint64, uint64) error {
		written = true
		return nil
	})
	return written, err
}

// mappedFile reads a file from where a process has mapped it.
type mappedFile struct {
	pid   task.PID
	at    task.Addr
	size  int64 // as far as it is mapped
	whole bool  // which is all of it
}

// ReadAt gives io.EOF at the end of the file only.
func (m *mappedFile) ReadAt(b []byte, off int64) (int, error) {
	n := min(int64(len(b)), max(m.size-off, 0))
	if err := task.Read(m.pid, b[:n], m.at+task.Addr(off)); err != nil {
		return 0, err
	}
	switch {
	case n == int64(len(b)):
		return int(n), nil
	case m.whole:
		return int(n), io.EOF
	}
	return int(n), errNotShown
}
