package memstate

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
	"supervise/memimg"
)

// pages moves the pages of one process between it and the image.
type pages struct {
	pid task.PID
}

// Source reads pages of a frozen process. It is a memimg.Source.
func Source(pid task.PID) memimg.Source { return pages{pid} }

// Sink writes pages of a process that is being built. It is a memimg.Sink.
func Sink(pid task.PID) memimg.Sink { return pages{pid} }

// ReadPages fills dst with the ranges, one after another, by as few calls as
// can be. What the process itself may not read is read with the tracer's rights.
func (p pages) ReadPages(dst []byte, ranges []memimg.Range) error {
	const most = 1024 // UIO_MAXIOV
	for len(ranges) > 0 {
		some := ranges[:min(len(ranges), most)]
		n := 0
		for _, r := range some {
			n += int(r.Len())
		}
		if !p.readv(dst[:n], some) {
			if err := p.readForced(dst[:n], some); err != nil {
				return err
			}
		}
		dst, ranges = dst[n:], ranges[len(some):]
	}
	return nil
}

// readv reports whether one process_vm_readv got everything.
func (p pages) readv(dst []byte, ranges []memimg.Range) bool {
	remote := make([]unix.RemoteIovec, len(ranges))
	for i, r := range ranges {
		remote[i] = unix.RemoteIovec{Base: uintptr(r.Start), Len: int(r.Len())}
	}
	local := []unix.Iovec{{Base: unsafe.SliceData(dst)}}
	local[0].SetLen(len(dst))
	n, err := unix.ProcessVMReadv(int(p.pid), local, remote, 0)
	return err == nil && n == len(dst)
}

func (p pages) readForced(dst []byte, ranges []memimg.Range) error {
	mem, err := task.OpenMemory(p.pid)
	if err != nil {
		return fmt.Errorf("read memory of pid %d: %w", p.pid, err)
	}
	defer mem.Close()
	for _, r := range ranges {
		if err := mem.ReadAt(dst[:r.Len()], task.Addr(r.Start)); err != nil {
			return err
		}
		dst = dst[r.Len():]
	}
	return nil
}

// WritePages writes data at addr. Mappings that the process itself may not
// write to are written with the tracer's rights.
func (p pages) WritePages(addr uint64, data []byte) error {
	if task.Write(p.pid, task.Addr(addr), data) == nil {
		return nil
	}
	mem, err := task.OpenMemory(p.pid)
	if err != nil {
		return fmt.Errorf("write memory of pid %d: %w", p.pid, err)
	}
	defer mem.Close()
	return mem.WriteAt(data, task.Addr(addr))
}
