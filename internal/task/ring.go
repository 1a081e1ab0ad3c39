package task

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// Ring is the ring of a context of asynchronous I/O (man 2 io_setup): a header,
// and a circle of events.
type Ring struct {
	Addr   Addr   // the context is known by it
	Events uint32 // in the circle
	Idle   bool   // no request is under way
}

// Fields of the header (Linux fs/aio.c:struct aio_ring, v6.18).
const (
	RingHead   = 8
	RingTail   = 12
	RingHeader = 32 // its size, and that of an event
)

// ErrRingUnseen says that requests under way cannot be looked for.
var ErrRingUnseen = errors.New("the program catches every signal that could end a longer look into it")

// callRow as the number of a call has the parasite call code at the address in
// the first argument.
const callRow = ^uintptr(0)

// ringCalls are those that the ring probe makes.
var ringCalls = []uint64{unix.SYS_EVENTFD2, unix.SYS_SCHED_SETAFFINITY, unix.SYS_IO_SUBMIT, unix.SYS_CLOSE, unix.SYS_FUTEX}

// ProbeRings finds out which contexts have no requests under way. Mates are
// all threads that share the process's memory.
//
// Nothing shows requests, but each takes one slot, of as many as the ring has
// events less one, until its event has been taken out (Linux
// fs/aio.c:get_reqs_available, v6.18). So slots are counted by taking all that
// are free, with requests that are done at once. They leave events in the ring,
// which are taken out again, and the ring is turned on until everything is
// where it was; code in the tracee (ring_amd64.s) does so in some tens of
// microseconds. Events of the program's that arrive meanwhile stay in order. All
// others that could see the rings are parked, so that nobody sees anything of
// this though we die.
//
// Each CPU has free slots to itself, as many as two batches, and takes them in
// batches from those that all share. There less than a batch is left in the end,
// always the same number, since only batches come and go.
//
// Preconditions:
//   - The process is infected, and so are others with the same memory.
//   - The header of each ring says how many events it has, and where they are;
//     its memory can be written to.
func (p *Process) ProbeRings(rings []Ring, mates []*Thread) error {
	return p.probeRings(rings, mates, func(gate Addr) error { return Write(p.PID, gate, make([]byte, 4)) })
}

// probeRings calls closeGate in the last moment before the probe, which does
// nothing as long as the gate is open.
func (p *Process) probeRings(rings []Ring, mates []*Thread, closeGate func(gate Addr) error) error {
	if p.stopSignal == 0 {
		return ErrRingUnseen
	}
	probe, err := p.newRingProbe(rings)
	if err != nil {
		return err
	}
	var others []*Thread
	for _, t := range mates {
		if t != p.Leader() {
			others = append(others, t)
		}
	}
	at, err := p.mapBehind(probe.size() + len(others)*parkSize)
	if err != nil {
		return fmt.Errorf("map the ring probe: %w", err)
	}
	if err := Write(p.PID, at, probe.encode(at)); err != nil {
		return err
	}
	var b Batch
	b.Pause(func() error { return closeGate(at) })
	b.calls = append(b.calls, &Call{Nr: callRow, args: [6]uint64{uint64(p.space.code + ringProbeOffset), uint64(at)}})
	if err := parked(others, p.space.code, at+Addr(probe.size()), at, func() error { return p.Run(&b) }); err != nil {
		return err
	}
	return probe.judge(p.PID, at)
}

// mapBehind maps memory right behind the parasite, to go with it, also with one
// that a killed supervisor leaves. It is shared, so that it stays a mapping of its
// own.
func (p *Process) mapBehind(size int) (Addr, error) {
	_, end := p.Occupied()
	at := end + p.space.behind
	size = (size + PageSize - 1) &^ (PageSize - 1)
	const flags = unix.MAP_SHARED | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE
	if _, err := p.Call(unix.SYS_MMAP, at, size, unix.PROT_READ|unix.PROT_WRITE, flags, -1, 0); err != nil {
		return 0, err
	}
	p.space.behind += Addr(size)
	return at, nil
}

// Layout of the ring probe's memory, shared with ring_amd64.s.
const (
	probeIocb    = 128 // the request: struct iocb
	probeList    = 256 // pointers to it
	probeBurst   = 128 // of them
	probeRings   = probeList + 8*probeBurst
	probeRingLen = 32
	probeTaken   = 16
)

// ringProbe is what the ring probe goes by.
type ringProbe struct {
	rings    []Ring
	possible int // CPUs
	maskSize int
	masks    []byte // one CPU each
	after    []byte // the mask that it leaves behind
}

// newRingProbe moves the probing thread from CPU to CPU if it may run on all of them:
// then a mask of all ones afterwards is what it had. Else it stays where it is.
func (p *Process) newRingProbe(rings []Ring) (*ringProbe, error) {
	possible, err := procfs.CPUs("possible")
	if err != nil {
		return nil, err
	}
	online, err := procfs.CPUs("online")
	if err != nil {
		return nil, err
	}
	r := &ringProbe{rings: rings, possible: len(possible)}
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(int(p.Leader().TID), &allowed); err != nil {
		return nil, goneErr("get affinity of", p.Leader().TID, err)
	}
	for _, cpu := range online {
		if !allowed.IsSet(cpu) {
			return r, nil
		}
	}
	r.maskSize = (possible[len(possible)-1]/64 + 1) * 8
	for _, cpu := range online {
		mask := make([]byte, r.maskSize)
		mask[cpu/8] = 1 << (cpu % 8)
		r.masks = append(r.masks, mask...)
	}
	for range r.maskSize {
		r.after = append(r.after, 0xff)
	}
	return r, nil
}

func (r *ringProbe) size() int {
	return (probeRings + len(r.rings)*probeRingLen + len(r.masks) + len(r.after) + PageSize - 1) &^ (PageSize - 1)
}

// encode gives the memory of the probe at an address, with the gate open. The
// request polls (IOCB_CMD_POLL) a descriptor that the probe fills in.
func (r *ringProbe) encode(at Addr) []byte {
	const open, poll = 1, 5
	list := at + probeList
	masks := at + probeRings + Addr(len(r.rings)*probeRingLen)
	visits := 1
	if r.maskSize > 0 {
		visits = len(r.masks) / r.maskSize
	}
	b := make([]byte, r.size())
	for i, v := range []uint64{
		open, uint64(visits), uint64(masks), uint64(r.maskSize), uint64(masks) + uint64(len(r.masks)), uint64(len(r.rings)),
		uint64(at + probeRings), uint64(at + probeIocb), uint64(list), probeBurst,
	} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	binary.LittleEndian.PutUint16(b[probeIocb+16:], poll)
	binary.LittleEndian.PutUint64(b[probeIocb+24:], unix.POLLIN)
	for i := range probeBurst {
		binary.LittleEndian.PutUint64(b[probeList+8*i:], uint64(at+probeIocb))
	}
	for i, ring := range r.rings {
		binary.LittleEndian.PutUint64(b[probeRings+i*probeRingLen:], uint64(ring.Addr))
		binary.LittleEndian.PutUint64(b[probeRings+i*probeRingLen+8:], uint64(ring.Events))
	}
	copy(b[masks-at:], append(r.masks, r.after...))
	return b
}

// judge tells which rings are idle, when the probe has run: those where all
// slots were free, or taken by events that wait.
func (r *ringProbe) judge(pid PID, at Addr) error {
	for i := range r.rings {
		ring := &r.rings[i]
		var taken [8]byte
		if err := Read(pid, taken[:], at+Addr(probeRings+i*probeRingLen+probeTaken)); err != nil {
			return err
		}
		waiting, err := ring.waiting(pid)
		if err != nil {
			return err
		}
		slots := ring.Events - 1
		batch := max(slots/uint32(4*r.possible), 1) // Linux fs/aio.c:ioctx_alloc, v6.18
		free := uint32(binary.LittleEndian.Uint64(taken[:])) + slots%batch
		ring.Idle = free+waiting == slots
	}
	return nil
}

// waiting is the number of events that have not been taken out.
func (ring *Ring) waiting(pid PID) (uint32, error) {
	var b [RingHeader]byte
	if err := Read(pid, b[:], ring.Addr); err != nil {
		return 0, err
	}
	head, tail := binary.LittleEndian.Uint32(b[RingHead:]), binary.LittleEndian.Uint32(b[RingTail:])
	return (tail + ring.Events - head) % ring.Events, nil
}
