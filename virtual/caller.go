package virtual

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// caller is the thread that waits in a call. All that is read under its number
// counts only if the call is still valid afterwards.
//
// What arguments point to, another thread of the program may change while we
// look, or between our look and the kernel's when the call goes on. Then the
// program gets the answer for either. That harms nobody: the rules are no
// guard (man 2 seccomp_unotify, CAVEATS).
type caller struct {
	*notification
	listener
	pidfd int // 0: not open
}

func (t *caller) close() {
	if t.pidfd != 0 {
		unix.Close(t.pidfd)
	}
}

// proc is a name under /proc of the calling thread.
func (t *caller) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", t.tid, name) }

// still tells whether the call is valid.
func (t *caller) still() bool { return t.valid(t.id) }

const pageSize = 4096

// read reads memory of the caller: all of p, or as much of it as there is.
func (t *caller) read(p []byte, at uint64) (int, error) {
	// Partial reads end between elements (man 2 process_vm_readv).
	first := min(len(p), pageSize-int(at%pageSize))
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: first}}
	for from := first; from < len(p); from += pageSize {
		remote = append(remote, unix.RemoteIovec{Base: uintptr(at) + uintptr(from), Len: min(pageSize, len(p)-from)})
	}
	local := []unix.Iovec{{Base: &p[0]}}
	local[0].SetLen(len(p))
	n, err := unix.ProcessVMReadv(int(t.tid), local, remote, 0)
	if err == nil && !t.still() {
		err = unix.ESRCH
	}
	return n, err
}

// readAll reads all of p.
func (t *caller) readAll(p []byte, at uint64) error {
	n, err := t.read(p, at)
	if err == nil && n < len(p) {
		err = unix.EFAULT
	}
	return err
}

// readString reads a path.
func (t *caller) readString(at uint64) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := t.read(buf, at)
	if err != nil {
		return "", err
	}
	end := bytes.IndexByte(buf[:n], 0)
	if end < 0 {
		return "", unix.EFAULT
	}
	return string(buf[:end]), nil
}

// write writes to memory of the caller, as the kernel would: not where it is
// read-only, as /proc/PID/mem does. That file stays with the memory of the
// caller, whoever gets its number later.
func (t *caller) write(at uint64, p []byte) unix.Errno {
	vmas, err := procfs.ReadMaps(int(t.tid))
	if err != nil {
		return unix.EFAULT
	}
	for from := at; from < at+uint64(len(p)); {
		end := writableUntil(vmas, from)
		if end == 0 {
			return unix.EFAULT
		}
		from = end
	}
	mem, err := os.OpenFile(t.proc("mem"), os.O_WRONLY, 0)
	if err != nil || !t.still() {
		return unix.EFAULT
	}
	defer mem.Close()
	if _, err := mem.WriteAt(p, int64(at)); err != nil {
		return unix.EFAULT
	}
	return 0
}

// writableUntil gives the end of the writable mapping at an address, or 0.
func writableUntil(vmas []procfs.VMA, at uint64) uint64 {
	for i := range vmas {
		if vmas[i].Start <= at && at < vmas[i].End && vmas[i].Write {
			return vmas[i].End
		}
	}
	return 0
}

const pidfdThread = unix.O_EXCL // PIDFD_THREAD

// descriptor gives a copy of a descriptor of the caller.
func (t *caller) descriptor(fd int) (int, error) {
	if t.pidfd == 0 {
		pidfd, err := unix.PidfdOpen(int(t.tid), pidfdThread)
		if err == unix.EINVAL { // before v6.9
			pidfd, err = t.processFD()
		}
		if err != nil {
			return -1, err
		}
		t.pidfd = pidfd
		if !t.still() {
			return -1, unix.ESRCH
		}
	}
	return unix.PidfdGetfd(t.pidfd, fd, 0)
}

// processFD is a pidfd of the caller's process, whose threads share descriptors
// but for odd ones.
func (t *caller) processFD() (int, error) {
	st, err := procfs.ReadStatus(int(t.tid))
	if err != nil {
		return -1, err
	}
	return unix.PidfdOpen(st.TGID, 0)
}
