package memstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/refuse"
	"supervise/internal/task"
)

// Ring is the record of a context of asynchronous I/O (man 2 io_setup): of its
// ring, a mapping by whose address the context is known. Requests are not in it:
// there must be none.
type Ring struct {
	Events  uint32 `cbor:"1,keyasint" json:"events"` // that there is room for
	Head    uint32 `cbor:"2,keyasint,omitempty" json:"head,omitempty"`
	Tail    uint32 `cbor:"3,keyasint,omitempty" json:"tail,omitempty"`
	Waiting []byte `cbor:"4,keyasint,omitempty" json:"waiting,omitempty"` // events from head to tail
}

const ringPath = "/[aio]"

// Linux fs/aio.c:struct aio_ring, v6.18, and its events.
const (
	ringMagic  = 0xa10a10a1
	eventSize  = 32
	ringEvents = task.PageSize / eventSize // in a page, the header taking the place of one
)

// count is how many events wait.
func (r *Ring) count() uint32 { return (r.Tail + r.Events - r.Head) % r.Events }

// read reads the ring of a mapping.
func (r *Ring) read(pid task.PID, v *procfs.VMA) (why string, err error) {
	var b [task.RingHeader]byte
	if err := task.Read(pid, b[:], task.Addr(v.Start)); err != nil {
		return "", err
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	*r = Ring{Events: word(4), Head: word(task.RingHead), Tail: word(task.RingTail)}
	switch {
	case word(16) != ringMagic || word(24) != 0 || word(28) != task.RingHeader:
		return "a ring of asynchronous I/O (io_setup) of a form that is not known", nil
	case !v.Shared || !v.Read || !v.Write || v.Offset != 0 || v.Len() != (uint64(r.Events)+1)*eventSize || r.Head >= r.Events || r.Tail >= r.Events:
		return "a ring of asynchronous I/O (io_setup) that the program has changed", nil
	}
	return "", nil
}

// classifyRing makes a record of a ring, or says why it cannot. What waits in it
// is read by SurveyRings.
func classifyRing(p *Process, v *procfs.VMA, rec *VMA) (why string) {
	rec.Kind, rec.Ring = InRing, &Ring{}
	why, err := rec.Ring.read(p.Held.PID, v)
	if err != nil {
		return err.Error()
	}
	return why
}

// Rings tells whether the space has rings of asynchronous I/O.
func (s *Space) Rings() bool { return len(s.rings()) > 0 }

func (s *Space) rings() []*VMA {
	var list []*VMA
	for i := range s.VMAs {
		if s.VMAs[i].Kind == InRing {
			list = append(list, &s.VMAs[i])
		}
	}
	return list
}

// SurveyRings reads what waits in the rings of a held and infected process, and
// refuses contexts with requests under way. mates are all threads with the same
// memory.
func (s *Space) SurveyRings(p Process, mates []*task.Thread, refused *refuse.List) error {
	refuseRing := func(v *VMA, why, hint string, passing bool) {
		refused.Add(refuse.Object{PID: int(p.Held.PID), Comm: p.Comm, Why: why, Hint: hint, Passing: passing,
			What: fmt.Sprintf("asynchronous I/O, context %x", uint64(v.Start))})
	}
	own, err := s.ownRings(p.Held, func(v *VMA) {
		refuseRing(v, "it belongs to another process, from which this one has the ring since a fork", "", false)
	})
	if err != nil || len(own) == 0 {
		return err
	}
	probes := make([]task.Ring, len(own))
	for i, v := range own {
		probes[i] = task.Ring{Addr: v.Start, Events: v.Ring.Events}
	}
	if err := probeUntilIdle(p.Held, probes, mates); err != nil {
		var filtered *task.FilteredError
		if errors.Is(err, task.ErrRingUnseen) || errors.As(err, &filtered) || errors.Is(err, unix.EMFILE) {
			refuseRing(own[0], "whether requests are under way cannot be seen: "+err.Error(), "", false)
			return nil
		}
		return err
	}
	for i, v := range own {
		if !probes[i].Idle {
			refuseRing(v, "requests are under way, and the kernel does not tell which", "try again when the program waits for none", true)
			continue
		}
		if err := v.Ring.take(p.Held.PID, v.Start); err != nil {
			return err
		}
	}
	return nil
}

// probeUntilIdle gives requests a moment to end. While nobody makes new ones, those
// to read or write files do.
func probeUntilIdle(p *task.Process, rings []task.Ring, mates []*task.Thread) error {
	const longest = 16 * time.Millisecond
	for pause := time.Millisecond; ; pause *= 2 {
		err := p.ProbeRings(rings, mates)
		busy := slices.ContainsFunc(rings, func(r task.Ring) bool { return !r.Idle })
		if err != nil || !busy || pause > longest {
			return err
		}
		time.Sleep(pause)
	}
}

// ownRings gives the rings whose contexts are the process's, and calls foreign for the others:
// those are not found by their addresses.
func (s *Space) ownRings(p *task.Process, foreign func(*VMA)) ([]*VMA, error) {
	var b task.Batch
	var own []*VMA
	for _, v := range s.rings() {
		submit := b.Add(unix.SYS_IO_SUBMIT, v.Start, 0, 0).Optional()
		b.Then(func() error {
			if errors.Is(submit.Err(), unix.EINVAL) {
				foreign(v)
				return nil
			}
			own = append(own, v)
			return submit.Err()
		})
	}
	err := p.Run(&b)
	return own, err
}

// take reads the ring at an address, with what waits in it.
func (r *Ring) take(pid task.PID, at task.Addr) error {
	var b [task.RingHeader]byte
	if err := task.Read(pid, b[:], at); err != nil {
		return err
	}
	r.Head = binary.LittleEndian.Uint32(b[task.RingHead:]) % r.Events
	r.Tail = binary.LittleEndian.Uint32(b[task.RingTail:]) % r.Events
	r.Waiting = nil
	for _, part := range r.parts() {
		events := make([]byte, (part[1]-part[0])*eventSize)
		if err := task.Read(pid, events, eventAt(at, part[0])); err != nil {
			return err
		}
		r.Waiting = append(r.Waiting, events...)
	}
	return nil
}

// parts are the ranges of events that wait: two where they go past the end.
func (r *Ring) parts() [][2]uint32 {
	switch {
	case r.Head == r.Tail:
		return nil
	case r.Head < r.Tail:
		return [][2]uint32{{r.Head, r.Tail}}
	case r.Tail == 0:
		return [][2]uint32{{r.Head, r.Events}}
	}
	return [][2]uint32{{r.Head, r.Events}, {0, r.Tail}}
}

func eventAt(ring task.Addr, i uint32) task.Addr {
	return ring + task.RingHeader + task.Addr(i)*eventSize
}

// check is for records out of an image.
func (v *VMA) checkRing() error {
	r := v.Ring
	if (v.Kind == InRing) != (r != nil) {
		return fmt.Errorf("mapping %x: of kind %d", uint64(v.Start), v.Kind)
	}
	if r == nil {
		return nil
	}
	if r.Events < ringEvents-1 || v.Len() != (uint64(r.Events)+1)*eventSize || r.Head >= r.Events || r.Tail >= r.Events ||
		len(r.Waiting) != int(r.count())*eventSize {
		return fmt.Errorf("ring %x of %d events: head %d, tail %d, %d bytes", uint64(v.Start), r.Events, r.Head, r.Tail, len(r.Waiting))
	}
	return nil
}
