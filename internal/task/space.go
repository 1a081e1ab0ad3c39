package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// The parasite's mapping, from its start:
//
//	code    one page, r-x: the parasite, the ring probe and the init loop
//	room    rw-: stack for a signal handler that runs while the way home pops the frame
//	frame   the way home
//	table   rows and their buffers
const (
	codeSize            = PageSize
	signalRoom          = 16 << 10
	frameRoom           = 256
	tableRoom           = 64 << 10
	dataSize            = signalRoom + PageSize + tableRoom
	parasiteSpan        = codeSize + dataSize
	ringProbeOffset     = 1024 // of the ring probe in the code page
	initLoopStartOffset = 2048 // of the init loop in the code page
)

// space is the parasite's presence in one address space.
type space struct {
	code   Addr
	slack  Addr // where bootstrap code may stand
	behind Addr // how much is mapped right behind it, to go with it
	cured  bool // by one of the processes that share it
}

func (s *space) data() Addr  { return s.code + codeSize }
func (s *space) frame() Addr { return s.data() + signalRoom }
func (s *space) table() Addr { return s.frame() + PageSize }

// unmap is the call that takes the mapping away.
func (s *space) unmap() Call {
	return Call{Nr: unix.SYS_MUNMAP, args: [6]uint64{uint64(s.code), parasiteSpan + uint64(s.behind)}}
}

// bootstrap layout, in unused bytes behind code: code, frame, rows.
const (
	slackFrame = 256
	slackRows  = slackFrame + 176
	slackSize  = slackRows + 3*rowSize
)

// ErrNoRoom says that there is no place for the bootstrap code.
var ErrNoRoom = errors.New("no unused bytes behind the code of the vDSO, or of a mapped file, for bootstrap code")

// findHole gives the middle of the largest range that is free in all of the
// given layouts, far from anything that grows.
func findHole(layouts ...[]procfs.VMA) (Addr, error) {
	const top = 0x7fff_0000_0000
	type edge struct{ start, end uint64 }
	var used []edge
	for _, vmas := range layouts {
		for i := range vmas {
			used = append(used, edge{vmas[i].Start, vmas[i].End})
		}
	}
	sort.Slice(used, func(i, j int) bool { return used[i].start < used[j].start })
	var at, best, low uint64
	for _, u := range append(used, edge{top, top}) {
		if start := min(u.start, top); start > low && start-low > best {
			best, at = start-low, low+(start-low)/2
		}
		low = max(low, u.end)
	}
	if best < 4*parasiteSpan {
		return 0, errors.New("address space is full")
	}
	return Addr(at &^ (PageSize - 1)), nil
}

// Infect maps the parasite into the process, at an address that is free in
// its layout vmas and in the others given.
//
// Order of events, so that the tracer may die between any two:
//  1. bootstrap code is written behind other code, where nothing jumps;
//  2. a thread runs it: two mmaps, then home. Their results cannot be stored
//     there, but nothing else moves, and the addresses are free;
//  3. the parasite's code is written to its page.
func (p *Process) Infect(vmas []procfs.VMA, others ...[]procfs.VMA) error {
	hole, err := findHole(append(others, vmas, p.leftovers, p.attached)...)
	if err != nil {
		return fmt.Errorf("pid %d: %w", p.PID, err)
	}
	slack, err := p.findSlack(vmas)
	if err != nil {
		return err
	}
	s := &space{code: hole, slack: slack}
	if p.stopSignal, err = p.pickStopSignal(); err != nil {
		return err
	}
	p.space = s
	rows := []Call{
		{Nr: unix.SYS_MMAP, args: [6]uint64{uint64(s.code), codeSize, unix.PROT_READ | unix.PROT_EXEC, mapFlags, ^uint64(0), 0}},
		{Nr: unix.SYS_MMAP, args: [6]uint64{uint64(s.data()), dataSize, unix.PROT_READ | unix.PROT_WRITE, mapFlags, ^uint64(0), 0}},
	}
	if err := p.Leader().checkFilters(s.slack, appendRows(nil, append(rows, s.unmap())), s.slack+slackFrame); err != nil {
		p.space = nil
		return err
	}
	if err := p.Leader().bootstrap(rows); err != nil {
		return errors.Join(err, p.eraseSlack())
	}
	if err := p.writeCode(); err != nil {
		return errors.Join(err, p.Cure())
	}
	return p.unmapLeftovers()
}

const mapFlags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE

// pickStopSignal chooses a signal that the program does not catch and that is
// not pending anywhere in it.
func (p *Process) pickStopSignal() (unix.Signal, error) {
	st, err := procfs.ReadStatus(int(p.PID))
	if err != nil {
		return 0, goneErr("read status of", TID(p.PID), err)
	}
	used := st.SigCgt | st.ShdPnd
	for _, t := range p.Threads {
		used |= set(t.Pending)
	}
	return harmlessSignal(used), nil
}

// bootstrap runs rows from there. Results cannot be stored there.
func (t *Thread) bootstrap(rows []Call) error {
	s := t.Proc.space
	block := make([]byte, slackRows, slackSize)
	copy(block, parasiteCode)
	copy(block[slackFrame:], appendFrame(nil, t.Regs, t.Mask))
	block = appendRows(block, append(rows, t.stopRow()))
	if err := t.checkFilters(s.slack, block[slackRows:], s.slack+slackFrame); err != nil {
		return err
	}
	if err := t.Proc.poke(block, s.slack); err != nil {
		return err
	}
	return t.inject(s.slack, s.slack+slackRows, s.slack+slackFrame, []stretch{{rows: len(rows) + 1}}, false)
}

// poke writes where the process itself may not.
func (p *Process) poke(b []byte, at Addr) error {
	mem, err := OpenMemory(p.PID)
	if err != nil {
		return goneErr("open memory of", TID(p.PID), err)
	}
	defer mem.Close()
	return mem.WriteAt(b, at)
}

// writeCode fills the code page. It fails when the bootstrap's mmap did: the
// table would not be there either.
func (p *Process) writeCode() error {
	page := make([]byte, initLoopStartOffset+len(initLoopCode))
	copy(page, parasiteCode)
	copy(page[ringProbeOffset:], ringProbeCode)
	copy(page[initLoopStartOffset:], initLoopCode)
	if err := p.poke(page, p.space.code); err != nil {
		return fmt.Errorf("map the parasite into pid %d: %w", p.PID, err)
	}
	return Write(p.PID, p.space.frame(), binary.LittleEndian.AppendUint64(nil, 0))
}

// ShareParasite lets p use the parasite of another process with the same
// address space.
func (p *Process) ShareParasite(other *Process) error {
	p.space = other.space
	var err error
	p.stopSignal, err = p.pickStopSignal()
	return err
}

// Cure unmaps the parasite and erases the bootstrap code. Every thread of the
// process must have its own registers back, which Run sees to.
func (p *Process) Cure() error {
	if p.space == nil || p.space.cured {
		return nil
	}
	if err := p.Threads[0].bootstrap([]Call{p.space.unmap()}); err != nil {
		return err
	}
	p.space.cured = true
	return p.eraseSlack()
}

func (p *Process) eraseSlack() error {
	return p.poke(make([]byte, slackSize), p.space.slack)
}

// Occupied gives the range that the parasite takes in the process.
func (p *Process) Occupied() (start, end Addr) {
	return p.space.code, p.space.code + parasiteSpan
}

// Untouched is the address of a page of the parasite that nothing has been
// written to: the bottom of the stack that it keeps for signal handlers.
func (p *Process) Untouched() Addr { return p.space.data() }

// AttachBehind attaches a System V segment of some size, to be read only,
// right behind the parasite. It goes with the parasite, also with one that a
// killed supervisor leaves.
func (p *Process) AttachBehind(id int, size uint64) (Addr, error) {
	_, end := p.Occupied()
	at := end + p.space.behind
	if _, err := p.Call(unix.SYS_SHMAT, id, at, unix.SHM_RDONLY); err != nil {
		return 0, err
	}
	p.space.behind += Addr(size+PageSize-1) &^ (PageSize - 1)
	return at, nil
}
