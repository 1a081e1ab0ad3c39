package netstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// peek looks at the queue of a socket through a copy of ours, without taking
// anything out. That needs options of the socket to be set for the moment:
// SO_PEEK_OFF to get past the first message, SO_PASSCRED to see who sent it.
type peek struct {
	fd      int
	end     *unixEnd
	survey  *fdstate.Survey
	options []lent
	unread  int // bytes in the queue of a stream
	typ     int
	unnamed []unnamed
}

// unnamed is a sender whose id in the tree is not known.
type unnamed struct {
	at   int // offset of its message
	cred *Cred
}

// readQueue copies the queue into e.
func (e *unixEnd) readQueue(fd int, all *fdstate.Survey) error {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return err
	}
	p := &peek{fd: fd, end: e, survey: all, typ: typ}
	some, err := p.hasUnread()
	switch {
	case err != nil:
		return err
	case e.desc.InFlight() && some:
		return fdstate.RefuseNow("it has unread data, and no process has it while it is in a message")
	case e.desc.InFlight():
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		pid, known := treeID(all, cred.Pid)
		e.cred, e.credUnknown = Cred{PID: pid, UID: cred.Uid, GID: cred.Gid}, !known
		return nil
	case !some:
		return nil
	}
	if err := p.chooseOptions(); err != nil {
		return err
	}
	if err := lookInside(e.desc, all, p.options, p.all); err != nil {
		return err
	}
	return p.nameSenders()
}

// hasUnread tells whether there is something to look at, and refuses what a
// look would change: an error that waits is handed to whoever reads next
// (Linux net/core/datagram.c:__skb_try_recv_datagram, v6.12), except from a
// stream, which gives its data first.
func (p *peek) hasUnread() (bool, error) {
	ready, err := fdstate.Poll(p.fd, unix.POLLIN|unix.POLLPRI)
	switch {
	case err != nil:
		return false, err
	case ready&unix.POLLPRI != 0:
		return false, fdstate.RefuseNow("urgent data (MSG_OOB) waits to be read from it")
	case ready&unix.POLLERR != 0 && p.typ != unix.SOCK_STREAM:
		return false, fdstate.RefuseNow("an error waits to be read from it")
	case p.typ != unix.SOCK_STREAM:
		return ready&unix.POLLIN != 0, nil
	}
	p.unread, err = unix.IoctlGetInt(p.fd, unix.TIOCINQ)
	return p.unread > 0, err
}

// chooseOptions finds what must be changed for a look at everything.
func (p *peek) chooseOptions() (err error) {
	p.options, err = lend(p.fd, lent{unix.SOL_SOCKET, unix.SO_PASSCRED, 0, 1}, lent{unix.SOL_SOCKET, soPassRights, 0, 1}, lent{level: unix.SOL_SOCKET, name: unix.SO_PEEK_OFF})
	for _, o := range p.options {
		if o.name == unix.SO_PEEK_OFF && o.before >= 0 && p.typ != unix.SOCK_STREAM {
			// Which empty messages it has seen cannot be told (skb->peeked).
			return fdstate.RefuseNow("it looks ahead (SO_PEEK_OFF) in a queue with messages")
		}
	}
	return err
}

// all reads the whole queue. The options are set.
func (p *peek) all() error {
	if p.typ != unix.SOCK_STREAM {
		return p.messages()
	}
	for at := 0; at < p.unread; {
		part, err := p.read(at, p.unread-at, true)
		if err != nil {
			return err
		}
		if len(part.data) == 0 {
			return io.ErrUnexpectedEOF
		}
		pieces := []int{len(part.data)}
		if len(part.fds) > 0 {
			// Descriptors come with the first byte of what they were sent
			// with, which may be glued to what was sent before.
			before, err := p.plainBytes(at, len(part.data))
			if err != nil {
				return errors.Join(err, closeAll(part.fds))
			}
			pieces = []int{before, len(part.data) - before}
		}
		for i, n := range pieces {
			piece := part
			if piece.data = part.data[:n]; i < len(pieces)-1 {
				piece.fds = nil
			}
			part.data = part.data[n:]
			if n == 0 {
				continue
			}
			if err := p.keep(at, piece); err != nil {
				return err
			}
			at += n
		}
	}
	return nil
}

// plainBytes finds how many of the next size bytes come before the last thing
// that was sent, which is what descriptors came with. The kernel copies piece
// by piece, and ends at a piece that it cannot copy whole (Linux
// net/unix/af_unix.c:unix_stream_read_generic, v6.12): here that is the last.
func (p *peek) plainBytes(at, size int) (int, error) {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, at); err != nil {
		return 0, fmt.Errorf("set SO_PEEK_OFF: %w", err)
	}
	n, err := recvmsgShort(p.fd, make([]byte, size-1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EFAULT) {
		return 0, nil // the last is the first
	}
	return n, err
}

// messages reads datagrams up to the end of the queue. They are told from the
// end, which looks like an empty one, by the credentials that come with them.
func (p *peek) messages() error {
	for at, room := 0, 256<<10; ; {
		part, err := p.read(at, room, true)
		switch {
		case errors.Is(err, unix.EAGAIN), err == nil && part.end:
			return nil
		case err != nil:
			return err
		case part.cut:
			room *= 2
			if err := closeAll(part.fds); err != nil {
				return err
			}
			continue
		}
		if err := p.keep(at, part); err != nil {
			return err
		}
		at += len(part.data)
	}
}

// part is what one look gave.
type part struct {
	data []byte
	from []byte
	cred *unix.Ucred
	fds  []int
	end  bool // there was nothing
	cut  bool // the message is longer
}

// read looks at up to size bytes at an offset.
func (p *peek) read(at, size int, control bool) (part, error) {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, at); err != nil {
		return part{}, fmt.Errorf("set SO_PEEK_OFF: %w", err)
	}
	const room = 4096 // credentials, a label, SCM_MAX_FD descriptors, a pidfd
	data, oob := make([]byte, size), make([]byte, room)
	n, oobn, flags, from, err := recvmsg(p.fd, data, oob, unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return part{}, fmt.Errorf("recvmsg: %w", err)
	}
	got := part{data: data[:n], from: trimPath(from), cut: flags&unix.MSG_TRUNC != 0, end: n == 0 && oobn == 0}
	if err := got.control(oob[:oobn]); err != nil {
		return got, err
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return got, errors.Join(errors.New("more descriptors are in flight than we may open"), closeAll(got.fds))
	}
	return got, nil
}

// control takes apart what came with the data.
func (g *part) control(oob []byte) error {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	for i := range msgs {
		m := &msgs[i]
		switch {
		case m.Header.Level != unix.SOL_SOCKET:
		case m.Header.Type == unix.SCM_CREDENTIALS:
			if g.cred, err = unix.ParseUnixCredentials(m); err != nil {
				return err
			}
		case m.Header.Type == unix.SCM_RIGHTS:
			if g.fds, err = unix.ParseUnixRights(m); err != nil {
				return err
			}
		case m.Header.Type == scmPidfd && len(m.Data) >= 4: // the program has SO_PASSPIDFD
			if fd := int32(binary.LittleEndian.Uint32(m.Data)); fd >= 0 {
				unix.Close(int(fd))
			}
		}
	}
	return nil
}

// scmPidfd is SCM_PIDFD (Linux include/linux/socket.h).
const scmPidfd = 4

// keep adds a message to the record.
func (p *peek) keep(at int, g part) error {
	m := UnixMessage{Data: bytes.Clone(g.data), From: g.from}
	if m.Data == nil {
		m.Data = []byte{}
	}
	for i, fd := range g.fds {
		d, err := p.survey.Adopt(fd, p.end.desc)
		if err != nil {
			return errors.Join(err, closeAll(g.fds[i+1:]))
		}
		m.Files = append(m.Files, d.Index())
	}
	if g.cred != nil && g.cred.Pid != 0 {
		pid, known := treeID(p.survey, g.cred.Pid)
		m.Cred = &Cred{PID: pid, UID: g.cred.Uid, GID: g.cred.Gid}
		if !known {
			p.unnamed = append(p.unnamed, unnamed{at, m.Cred})
		}
	}
	p.end.queue = append(p.end.queue, m)
	return nil
}

// treeID gives what the tree calls a process, if that can be told.
func treeID(s *fdstate.Survey, pid int32) (id task.ID, known bool) {
	for _, p := range s.Procs {
		if p.Held.PID == task.PID(pid) {
			return p.Held.ID, true
		}
	}
	held := s.Procs[0].Held
	return task.ID(pid), pid == 0 || int(held.PID) == int(held.ID)
}

// nameSenders has a process of the tree look at messages whose senders are
// dead: in a pid namespace of its own it calls them otherwise than we do.
func (p *peek) nameSenders() error {
	if len(p.unnamed) == 0 {
		return nil
	}
	inside, err := p.survey.Inside(p.end.desc.Proc)
	if err != nil {
		return err
	}
	var b task.Batch
	set := func(name, value int) {
		b.Add(unix.SYS_SETSOCKOPT, p.end.desc.FD, unix.SOL_SOCKET, name, binary.LittleEndian.AppendUint32(nil, uint32(value)), 4)
	}
	for _, o := range p.options {
		set(o.name, o.during)
	}
	looks := make([]task.Struct, len(p.unnamed))
	for i, who := range p.unnamed {
		looks[i] = credLook()
		set(unix.SO_PEEK_OFF, who.at)
		b.Add(unix.SYS_RECVMSG, p.end.desc.FD, looks[i], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}
	for _, o := range p.options {
		set(o.name, o.before)
	}
	if err := inside.Run(&b); err != nil {
		return err
	}
	for i, who := range p.unnamed {
		who.cred.PID = task.ID(binary.LittleEndian.Uint32(looks[i].Bytes[credLookPID:]))
		if who.cred.PID == 0 {
			return fdstate.RefuseNow("a message waits in it from a process that the tree cannot see")
		}
	}
	return nil
}

// Where credLook has what: struct msghdr, struct iovec, control, a byte of data.
const (
	credLookIov     = 56
	credLookControl = credLookIov + 16
	credLookPID     = credLookControl + unix.SizeofCmsghdr
	credLookData    = credLookControl + 32
)

// credLook is what recvmsg(2) takes for a look at one byte and its sender.
// There is no room for descriptors, so that none are made.
func credLook() task.Struct {
	b := make([]byte, credLookData+1)
	le := binary.LittleEndian
	le.PutUint64(b[24:], 1) // msg_iovlen
	le.PutUint64(b[40:], credLookData-credLookControl)
	le.PutUint64(b[credLookIov+8:], 1)
	return task.Struct{Bytes: b, Pointers: []task.Pointer{{At: 16, To: credLookIov}, {At: 32, To: credLookControl}, {At: credLookIov, To: credLookData}}}
}

func closeAll(fds []int) error {
	var errs []error
	for _, fd := range fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
