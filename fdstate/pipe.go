package fdstate

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// Pipe is the image record of one end of a pipe or fifo.
type Pipe struct {
	ID     uint64  `cbor:"1,keyasint" json:"pipe"` // the same for all ends of one
	Fifo   bool    `cbor:"2,keyasint,omitempty" json:"fifo,omitempty"`
	Alone  bool    `cbor:"3,keyasint,omitempty" json:"alone,omitempty"` // a fifo's reader, before the first writer
	Buffer *Buffer `cbor:"4,keyasint,omitempty" json:"buffer,omitempty"`
	Mode   uint32  `cbor:"5,keyasint,omitempty" json:"mode,omitempty"` // if not the usual
}

// Buffer is a pipe's buffer; the record of one of its ends has it.
type Buffer struct {
	Size    int      `cbor:"1,keyasint" json:"size"`
	Chunks  [][]byte `cbor:"2,keyasint,omitempty" json:"chunks,omitempty"`
	Packets bool     `cbor:"3,keyasint,omitempty" json:"packets,omitempty"` // each chunk is one (O_DIRECT)
}

// pipe is what the tree as a whole has of one.
type pipe struct {
	id               uint64
	fifo             bool
	readers, writers bool // in the tree
	packets          bool
	descs            []*Desc
	alone            bool
	foreign          bool // its other end is outside the tree, or was never opened
	saved            bool // a record has the buffer
}

// fionread asks how many bytes can be read (Linux include/uapi/asm-generic/ioctls.h).
const fionread = unix.TIOCINQ

func isPipe(d *Desc) bool { return d.pipe != nil }

// surveyPipes finds the ends of all pipes, and what leads out of the tree.
func (s *Survey) surveyPipes() error {
	for _, d := range s.Descs {
		if d.mode() != unix.S_IFIFO || isPathOnly(d) {
			continue
		}
		key := inode{d.Stat.Dev, d.Stat.Ino}
		p := s.pipes[key]
		if p == nil {
			p = &pipe{id: uint64(len(s.pipes) + 1), fifo: !strings.HasPrefix(d.Link, "pipe:")}
			s.pipes[key] = p
		}
		d.pipe, p.descs = p, append(p.descs, d)
		p.readers = p.readers || d.Access() != unix.O_WRONLY
		p.writers = p.writers || d.Access() != unix.O_RDONLY
		p.packets = p.packets || d.Access() != unix.O_RDONLY && d.Flags()&unix.O_DIRECT != 0
	}
	for _, p := range s.pipes {
		if p.readers && p.writers {
			continue
		}
		if err := p.findOtherEnd(); err != nil {
			return s.explain(p.descs[0].Proc, err)
		}
		if p.foreign {
			s.markOutside(p.descs, nil)
		}
	}
	return nil
}

// findOtherEnd tells why all ends in the tree are of one side: the other side
// is closed, or outside. A copy of an end shares its description, so it does
// not count as an opener (Linux fs/pipe.c:pipe_poll, pipe_release, v6.12).
func (p *pipe) findOtherEnd() error {
	return p.descs[0].look(func(fd int) error {
		ready, err := Poll(fd, 0)
		if err != nil || ready&(unix.POLLHUP|unix.POLLERR) != 0 {
			return err
		}
		// A reader of a fifo that no writer has opened since hears no hangup.
		// An empty fifo may be opened by name again either way.
		n, err := unix.IoctlGetInt(fd, fionread)
		p.alone = p.fifo && p.readers && n == 0
		p.foreign = !p.alone
		return err
	})
}

func capturePipe(d *Desc, _ *Survey) (Record, error) {
	p := d.pipe
	if p.foreign {
		return nil, Refuse("the other end of the pipe is outside the tree",
			"only stdin, stdout and stderr can lead outside; let a rule close or redirect it (--policy), or take the other process into the tree")
	}
	rec := &Pipe{ID: p.id, Fifo: p.fifo, Alone: p.alone}
	if p.nameless() {
		rec.Fifo = false
	}
	if rec.Fifo {
		if err := d.checkPath(); err != nil {
			return nil, err
		}
	} else if mode := p.descs[0].Stat.Mode & 0o7777; mode != usualMode && mode&usualMode == usualMode {
		rec.Mode = mode
	}
	if p.saved || p.alone {
		return rec, nil
	}
	p.saved = true
	var err error
	rec.Buffer, err = p.capture()
	return rec, err
}

// usualMode is that of a new pipe.
const usualMode = 0o600

// nameless tells that a fifo's name was removed when both sides had been
// opened. It is a pipe then, but for what /proc calls it, and comes back as one.
// Its owner must be able to open it, as its ends are.
func (p *pipe) nameless() bool {
	st := &p.descs[0].Stat
	return p.fifo && st.Nlink == 0 && !p.alone && st.Mode&usualMode == usualMode
}

// reader gives a description that the pipe can be read through, or nil.
func (p *pipe) reader() *Desc {
	for _, d := range p.descs {
		if d.Access() != unix.O_WRONLY {
			return d
		}
	}
	return nil
}

// capture copies the buffer. What nobody can read any more is left out.
func (p *pipe) capture() (*Buffer, error) {
	buf := &Buffer{Packets: p.packets}
	d := p.reader()
	if d == nil {
		d = p.descs[0]
	}
	return buf, d.look(func(fd int) (err error) {
		if buf.Size, err = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err != nil {
			return fmt.Errorf("fcntl F_GETPIPE_SZ: %w", err)
		}
		n, err := unix.IoctlGetInt(fd, fionread)
		if err != nil || n == 0 || !p.readers {
			return err
		}
		buf.Chunks, err = teePipe(fd, buf.Size, n, p.packets)
		return err
	})
}

// teePipe duplicates the n bytes in a pipe into one of ours, where the
// original keeps them (man 2 tee), and reads them there.
func teePipe(fd, size, n int, packets bool) ([][]byte, error) {
	var ours [2]int
	if err := unix.Pipe2(ours[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	defer unix.Close(ours[0])
	defer unix.Close(ours[1])
	if _, err := unix.FcntlInt(uintptr(ours[1]), unix.F_SETPIPE_SZ, size); err != nil {
		return nil, fmt.Errorf("fcntl F_SETPIPE_SZ to %d: %w", size, err)
	}
	got, err := unix.Tee(fd, ours[1], n, unix.SPLICE_F_NONBLOCK)
	if err != nil || got != int64(n) {
		return nil, fmt.Errorf("tee %d of %d bytes: %w", got, n, cmp.Or(err, io.ErrShortWrite))
	}
	var chunks [][]byte
	for buf := make([]byte, n); ; {
		got, err := unix.Read(ours[0], buf)
		if errors.Is(err, unix.EAGAIN) {
			return chunks, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		chunks = append(chunks, append([]byte(nil), buf[:got]...))
		if packets && got > unix.Getpagesize() { // a packet has a page at most
			return nil, Refuse("it has both packets (O_DIRECT) and plain data in it", "")
		}
	}
}

// pipeEnds are numbers at which a pipe is open. They are reserved ones, until
// CloseRest, or those of the tree's own first reader and writer.
type pipeEnds struct {
	read, write           int
	readTaken, writeTaken bool // a description of the tree has it
}

// pipeHome is the process that alone has all ends of a pipe.
type pipeHome struct {
	proc        int
	many        bool
	read, write *FD // there: the first of each side, or nil
}

// findHomes finds the pipes that a single process has. It makes them itself, in
// their places: there may be more than there are free numbers.
func (r *Restorer) findHomes() {
	for i, rec := range r.records {
		rec, ok := rec.(*Pipe)
		if !ok {
			continue
		}
		first := r.firstProc(i)
		h := r.homes[rec.ID]
		if h == nil {
			h = &pipeHome{proc: first}
			r.homes[rec.ID] = h
		}
		h.many = h.many || rec.Fifo || first < 0 || first != h.proc || r.many[i] || r.flies[i]
		if h.many {
			continue
		}
		side := &h.read
		switch r.state.Files[i].Flags & unix.O_ACCMODE {
		case unix.O_RDWR:
			continue
		case unix.O_WRONLY:
			side = &h.write
		}
		if fd := r.state.Tables[first].at(r.nums[i]); *side == nil || fd.Num < (*side).Num {
			*side = fd
		}
	}
}

// own tells that a process opens the description itself.
func (rec *Pipe) own(r *Restorer) bool { return !r.homes[rec.ID].many }

// Restore gives the first reader and the first writer the ends of a new pipe,
// and opens others through them. A fifo is opened by name; while another
// reserved descriptor holds it open for both, none of these opens waits.
func (rec *Pipe) Restore(o *Opener, f *File, at Slot) error {
	if rec.Alone {
		o.OpenPath(at, "open", f.Link, f.Flags)
		return nil
	}
	ends, ok := o.r.pipes[rec.ID]
	if !ok {
		if ends = rec.create(o, f); rec.Fifo {
			ends.readTaken, ends.writeTaken = true, true
		}
	}
	switch f.Flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		o.joinPipe(ends.read, ends.readTaken, at, f)
		ends.readTaken = true
	case unix.O_WRONLY:
		o.joinPipe(ends.write, ends.writeTaken, at, f)
		ends.writeTaken = true
	default:
		o.joinPipe(ends.read, true, at, f)
	}
	o.r.pipes[rec.ID] = ends
	if rec.Buffer != nil {
		rec.Buffer.restore(o, ends.write)
	}
	return nil
}

// joinPipe makes another description of an end, or takes the end itself, which
// may be in its place already. One that came by open(2) does so again: its flags
// show it.
func (o *Opener) joinPipe(end int, taken bool, at Slot, f *File) {
	const byOpen = 0o100000 // O_LARGEFILE, which open(2) adds (Linux fs/open.c:force_o_largefile, v6.12)
	switch {
	case taken || f.Flags&byOpen != 0:
		o.Reopen(end, at, "open", f.Flags)
	case end != at.Num:
		o.Dup(end, at)
	}
}

// create makes the pipe, or opens the fifo.
func (rec *Pipe) create(o *Opener, f *File) pipeEnds {
	h := o.r.homes[rec.ID]
	read, write := h.slot(h.read, o.r), h.slot(h.write, o.r)
	ends := pipeEnds{read: read.Num, write: write.Num}
	if !rec.Fifo {
		o.OpenPair(read, write, "pipe2", unix.SYS_PIPE2, unix.O_CLOEXEC)
		if rec.Mode != 0 {
			o.Call("fchmod", unix.SYS_FCHMOD, ends.write, rec.Mode)
		}
		return ends
	}
	o.OpenPath(write, "open", f.Link, unix.O_RDWR)
	o.stat(ends.write, func(st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return &TypeError{Path: f.Link, Was: unix.S_IFIFO, Mode: st.Mode}
		}
		return nil
	})
	o.Dup(ends.write, read)
	return ends
}

// slot is where an end is made.
func (h *pipeHome) slot(fd *FD, r *Restorer) Slot {
	if h.many || fd == nil {
		return Slot{r.Reserve(), true}
	}
	return Slot{fd.Num, fd.CloseOnExec}
}

// restore sets the size, and fills the pipe from outside.
func (b *Buffer) restore(o *Opener, end int) {
	o.Call(fmt.Sprintf("fcntl F_SETPIPE_SZ to %d", b.Size), unix.SYS_FCNTL, end, unix.F_SETPIPE_SZ, b.Size)
	if len(b.Chunks) > 0 {
		o.Then(func() error { return b.fill(o, end) })
	}
}

// fill writes the chunks. The end may be a description of the tree, so its
// flags are changed only for as long as it takes.
func (b *Buffer) fill(o *Opener, end int) error {
	fd, err := o.Copy(end)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if n, err := unix.IoctlGetInt(fd, fionread); err != nil || n > 0 {
		return cmp.Or(err, fmt.Errorf("another program uses it: it has %d bytes in it", n))
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("fcntl F_GETFL: %w", err)
	}
	mode := unix.O_NONBLOCK
	if b.Packets {
		mode |= unix.O_DIRECT
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, mode); err != nil {
		return fmt.Errorf("fcntl F_SETFL: %w", err)
	}
	for _, chunk := range b.Chunks {
		if n, err := unix.Write(fd, chunk); n != len(chunk) {
			return fmt.Errorf("write %d of %d bytes: %w", n, len(chunk), cmp.Or(err, io.ErrShortWrite))
		}
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	return err
}
