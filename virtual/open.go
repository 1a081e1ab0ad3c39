package virtual

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// opening is what a call wants to open.
type opening struct {
	dir     int // descriptor
	path    string
	flags   uint64
	resolve uint64 // RESOLVE_*
}

// contentFile makes the file that stands for f: one that nobody can change.
func contentFile(f *File) (int, error) {
	fd, err := unix.MemfdCreate(path.Base(f.Path), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	if _, err := unix.Write(fd, f.Content); err != nil {
		return -1, fmt.Errorf("write to a memfd: %w", err)
	}
	if err := unix.Fchmod(fd, 0o444); err != nil {
		return -1, fmt.Errorf("fchmod of a memfd: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return -1, fmt.Errorf("seal a memfd: %w", err)
	}
	return fd, nil
}

// open answers open(2), openat(2) and openat2(2): who reads a file of the rules
// gets its content. Who writes, or only wants a name, has the real file.
func (a *answerer) open(t *caller) answer {
	o, err := t.opening()
	if err != nil || !o.reads() {
		return pass // what is wrong with it, the kernel says better
	}
	f := a.find(t, &o)
	switch {
	case f == nil:
		return pass
	case f.Missing:
		return failed(unix.ENOENT)
	}
	flags := unix.O_RDONLY | unix.O_CLOEXEC | int(o.flags&unix.O_NONBLOCK)
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", a.files[f.Path]), flags, 0)
	if err != nil {
		return failed(errnoOf(err))
	}
	return answer{fd: fd, cloexec: o.flags&unix.O_CLOEXEC != 0}
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}

// opening reads the arguments.
func (t *caller) opening() (o opening, err error) {
	at := t.args[1]
	o.dir = int(int32(t.args[0]))
	switch t.nr &^ x32Bit {
	case unix.SYS_OPEN:
		at, o.dir, o.flags = t.args[0], unix.AT_FDCWD, t.args[1]
	case unix.SYS_OPENAT:
		o.flags = t.args[2]
	case unix.SYS_OPENAT2:
		var how [24]byte // struct open_how: flags, mode, resolve
		if err := t.readAll(how[:], t.args[2]); err != nil {
			return o, err
		}
		o.flags = binary.LittleEndian.Uint64(how[0:])
		o.resolve = binary.LittleEndian.Uint64(how[16:])
	}
	o.path, err = t.readString(at)
	return o, err
}

// reads tells whether the file is opened to be read and is to exist already.
func (o *opening) reads() bool {
	const other = unix.O_PATH | unix.O_CREAT | unix.O_DIRECTORY | unix.O_TRUNC
	return o.flags&unix.O_ACCMODE == unix.O_RDONLY && o.flags&other == 0
}

// find tells which rule a name means, or nil. A file is found by its own name, and
// by any that leads to it and has the same last part: to look at all others would
// make every open slow.
func (a *answerer) find(t *caller, o *opening) *File {
	if path.IsAbs(o.path) && o.resolve == 0 {
		if f := a.rules.file(path.Clean(o.path)); f != nil {
			return f
		}
	}
	base := path.Base(o.path)
	for i := range a.rules.Files {
		if path.Base(a.rules.Files[i].Path) == base {
			name, err := o.real(t)
			if err != nil {
				return nil
			}
			return a.rules.file(name)
		}
	}
	return nil
}

// real gives the name of the file that is opened, links followed, as the caller
// would find it.
func (o *opening) real(t *caller) (string, error) {
	from, how := o.path, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: o.resolve}
	start := t.proc("cwd")
	switch {
	case path.IsAbs(o.path) && o.resolve&unix.RESOLVE_IN_ROOT == 0:
		start, from = t.proc("root"), "."+path.Clean(o.path)
		how.Resolve |= unix.RESOLVE_IN_ROOT
	case o.dir != unix.AT_FDCWD:
		start = t.proc(fmt.Sprintf("fd/%d", o.dir))
	}
	dir, err := unix.Open(start, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	var fd int
	if own := t.ownProc(o.path); own != "" {
		fd, err = unix.Open(own, unix.O_PATH|unix.O_CLOEXEC, 0)
	} else {
		fd, err = unix.Openat2(dir, from, &how)
	}
	if err != nil {
		return o.missing(t, dir), nil
	}
	defer unix.Close(fd)
	if !t.still() {
		return "", unix.ESRCH
	}
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// ownProc gives a name that means for us what one below /proc/self means for the
// caller, or "" for others.
func (t *caller) ownProc(name string) string {
	for _, self := range []string{"/proc/self/", "/proc/thread-self/"} {
		if rest, ok := strings.CutPrefix(path.Clean(name), self); ok {
			return t.proc(rest)
		}
	}
	return ""
}

// missing gives the name of a file that is not there, of which the rules may
// have one all the same.
func (o *opening) missing(t *caller, dir int) string {
	if path.IsAbs(o.path) || o.resolve != 0 || !t.still() {
		return ""
	}
	start, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir))
	if err != nil {
		return ""
	}
	return path.Join(strings.TrimSuffix(start, " (deleted)"), o.path)
}
