package task

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Read copies len(dst) bytes at addr out of process pid. It needs no stop,
// but pages the process itself may not read give EFAULT (man 2 process_vm_readv).
func Read(pid PID, dst []byte, addr Addr) error {
	return vmCopy("read", pid, addr, dst, unix.ProcessVMReadv)
}

// Write copies src to addr in process pid, which must be able to write there.
func Write(pid PID, addr Addr, src []byte) error {
	return vmCopy("write", pid, addr, src, unix.ProcessVMWritev)
}

type vmFunc func(pid int, local []unix.Iovec, remote []unix.RemoteIovec, flags uint) (int, error)

func vmCopy(op string, pid PID, addr Addr, buf []byte, copy vmFunc) error {
	for len(buf) > 0 {
		local := []unix.Iovec{{Base: &buf[0]}}
		local[0].SetLen(len(buf))
		n, err := copy(int(pid), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}, 0)
		if errors.Is(err, syscall.ESRCH) {
			err = ErrGone
		}
		if err != nil {
			return fmt.Errorf("%s %d bytes at %#x of pid %d: %w", op, len(buf), uint64(addr), pid, err)
		}
		buf, addr = buf[n:], addr+Addr(n)
	}
	return nil
}

// Memory is a process's memory with the tracer's rights: it reads and writes
// what the process itself may not (FOLL_FORCE), such as PROT_NONE pages and
// read-only private mappings, which it copies on write.
type Memory struct {
	fd   int
	path string
}

// OpenMemory opens /proc/PID/mem (man 5 proc_pid_mem).
func OpenMemory(pid PID) (*Memory, error) {
	path := fmt.Sprintf("/proc/%d/mem", pid)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Memory{fd, path}, nil
}

// ReadAt fills dst from addr; it is safe for concurrent use.
func (m *Memory) ReadAt(dst []byte, addr Addr) error {
	return m.transfer(dst, addr, unix.Pread)
}

// WriteAt writes src at addr; it is safe for concurrent use.
func (m *Memory) WriteAt(src []byte, addr Addr) error {
	return m.transfer(src, addr, unix.Pwrite)
}

func (m *Memory) transfer(b []byte, addr Addr, op func(int, []byte, int64) (int, error)) error {
	for len(b) > 0 {
		n, err := op(m.fd, b, int64(addr))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = ErrGone // the kernel gives 0 once the address space is torn down
		}
		if err != nil {
			return fmt.Errorf("%s at %#x: %w", m.path, uint64(addr), err)
		}
		b, addr = b[n:], addr+Addr(n)
	}
	return nil
}

// Close closes the file.
func (m *Memory) Close() error { return unix.Close(m.fd) }
