package memstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// restoreRings makes the contexts again. All other mappings are there, so that
// the kernel finds other places for the rings at first.
func (s *Space) restoreRings(p *task.Process) error {
	rings := s.rings()
	if len(rings) == 0 {
		return nil
	}
	for _, v := range rings {
		if err := v.checkRing(); err != nil {
			return err
		}
	}
	leader := int(p.Leader().TID)
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(leader, &allowed); err != nil {
		return fmt.Errorf("get affinity: %w", err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(leader, &one); err != nil { // all free slots are this CPU's then
		return fmt.Errorf("set affinity: %w", err)
	}
	fd, err := p.Call(unix.SYS_EVENTFD2, 1, 0)
	if err != nil {
		return err
	}
	for _, v := range rings {
		if err := v.restoreRing(p, int(fd)); err != nil {
			return fmt.Errorf("context of asynchronous I/O %x: %w", uint64(v.Start), err)
		}
	}
	if _, err := p.Call(unix.SYS_CLOSE, fd); err != nil {
		return err
	}
	return unix.SchedSetaffinity(leader, &allowed)
}

// restoreRing makes one. The kernel follows a ring to another address (Linux
// fs/aio.c:aio_ring_mremap, v6.18), but has a tail of its own: events are what
// moves it.
func (v *VMA) restoreRing(p *task.Process, ready int) error {
	if err := v.setUpRing(p); err != nil {
		return err
	}
	r := v.Ring
	if err := v.post(p, ready, 0, r.Head, true); err != nil {
		return err
	}
	if err := v.post(p, ready, r.Head, r.count(), false); err != nil {
		return err
	}
	waiting := r.Waiting
	for _, part := range r.parts() {
		n := (part[1] - part[0]) * eventSize
		if err := task.Write(p.PID, eventAt(v.Start, part[0]), waiting[:n]); err != nil {
			return err
		}
		waiting = waiting[n:]
	}
	var b task.Batch
	v.addAdvice(&b)
	return p.Run(&b)
}

// setUpRing makes a context with a ring of the same size, at its place. The
// kernel rounds up to whole pages; asked for is the least that takes as many,
// as it counts against the sysctl fs.aio-max-nr.
func (v *VMA) setUpRing(p *task.Process) error {
	pages := v.Len() / task.PageSize
	requests := max(int(pages-1)*ringEvents/2-1, 1)
	context := make([]byte, 8)
	if _, err := p.Call(unix.SYS_IO_SETUP, requests, context); err != nil {
		if errors.Is(err, unix.EAGAIN) {
			return &LackError{Why: "contexts of asynchronous I/O", Hint: "raise /proc/sys/fs/aio-max-nr", Err: err}
		}
		return err
	}
	at := task.Addr(binary.LittleEndian.Uint64(context))
	var header [task.RingHeader]byte
	if err := task.Read(p.PID, header[:], at); err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint32(header[4:]); got != v.Ring.Events {
		return fmt.Errorf("the kernel makes rings of %d events at least on this host, which has more CPUs, not of %d", got, v.Ring.Events)
	}
	_, err := p.Call(unix.SYS_MREMAP, at, v.Len(), v.Len(), unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, v.Start)
	return err
}

// post has n events come, the first as number first. They are taken out again if
// they are to follow: if only the head and the tail are to move.
func (v *VMA) post(p *task.Process, ready int, first, n uint32, follow bool) error {
	const most = 512 // a table of the parasite has room for as many
	for done := uint32(0); done < n; {
		count := min(n-done, most, v.Ring.Events/2)
		got, err := p.Call(unix.SYS_IO_SUBMIT, v.Start, count, polls(ready, int(count)))
		if err != nil {
			return fmt.Errorf("event %d of %d: %w", done, n, err)
		}
		done += uint32(got)
		if !follow {
			continue
		}
		head := binary.LittleEndian.AppendUint32(nil, (first+done)%v.Ring.Events)
		if err := task.Write(p.PID, v.Start+task.RingHead, head); err != nil {
			return err
		}
	}
	return nil
}

// polls is an argument of io_submit: n pointers to one request, to poll
// (IOCB_CMD_POLL) a descriptor that is ready.
func polls(ready, n int) task.Struct {
	const size, poll = 64, 5
	s := task.Struct{Bytes: make([]byte, 8*n+size)}
	for i := range n {
		s.Pointers = append(s.Pointers, task.Pointer{At: 8 * i, To: 8 * n})
	}
	request := s.Bytes[8*n:]
	binary.LittleEndian.PutUint16(request[16:], poll)
	binary.LittleEndian.PutUint32(request[20:], uint32(ready))
	binary.LittleEndian.PutUint64(request[24:], unix.POLLIN)
	return s
}
