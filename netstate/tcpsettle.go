package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// What has been sent and has not arrived lies with its sender, where nobody can
// look without privilege. On one host that is so for three reasons: the receiver
// has no room, the sender waits for more before it sends a part of a segment, or
// only the acknowledgement is missing. So the survey gives the receiver room and
// pushes the sender, and then everything lies with the receiver. The program
// sees nothing of it: TCP promises nothing about where bytes are meanwhile.

// flow is what an end of a connection has sent and the other has not
// acknowledged.
type flow struct {
	from *tcpEnd // nil if that end is closed
	to   *tcpEnd
	out  int // our copy of from, or -1
	in   int // our copy of to
}

// How long the tree stands still for data to get from one end to the other. An
// acknowledgement may be held back for 40 ms (Linux TCP_DELACK_MIN), and a
// segment that was lost for lack of room is sent again after 200 ms
// (TCP_RTO_MIN), or twice and four times that. Room that was given stays, so
// that what takes longer goes on moving while the tree runs, until the next
// look; but not where the program has set the limit.
const (
	settlePatience = 250 * time.Millisecond
	tightPatience  = 1500 * time.Millisecond
)

// settle brings everything that was sent to its receivers. What resists is
// refused later, by refuseUnderWay.
func (s *tcpSurvey) settle() error {
	if s.settled {
		return nil
	}
	s.settled = true
	flows := s.flows()
	if len(flows) == 0 {
		return nil
	}
	const atOnce = 1000 // we have two descriptors for each
	for some := range slices.Chunk(flows, atOnce) {
		if err := s.settleSome(some); err != nil {
			return err
		}
	}
	s.table = nil // states have changed
	return s.look()
}

func (s *tcpSurvey) settleSome(flows []flow) error {
	defer closeFlows(flows)
	if err := openFlows(flows); err != nil {
		return err
	}
	if err := s.push(flows); err != nil {
		return err
	}
	const moment = 5 * time.Millisecond
	left, err := awaitFlows(flows, moment)
	if err != nil {
		return err
	}
	const atOnce = 40 // what a table of calls has room for
	for len(left) > 0 {
		some := sameReader(left)
		some = some[:min(len(some), atOnce)]
		if err := s.makeRoom(some); err != nil {
			return err
		}
		left = left[len(some):]
	}
	return nil
}

// flows finds the connections with something under way.
func (s *tcpSurvey) flows() (list []flow) {
	for _, e := range s.list {
		if e.entry == nil || e.other == nil || e.entry.state.in(tcpListen, tcpSynSent) {
			continue
		}
		switch other := s.ends[e.other.ino]; {
		case other != nil && e.entry.wqueue > 0 && !other.desc.InFlight():
			list = append(list, flow{from: e, to: other, out: -1, in: -1})
		case e.other.ino == 0 && e.other.wqueue > 0 && !e.other.state.in(tcpSynRecv, tcpNewSynRecv) && !e.desc.InFlight():
			list = append(list, flow{to: e, out: -1, in: -1})
		}
	}
	return list
}

// openFlows gets copies of the ends.
func openFlows(list []flow) (err error) {
	for i := range list {
		f := &list[i]
		if f.in, err = f.to.desc.Copy(); err != nil {
			return err
		}
		if f.from == nil {
			continue
		}
		if f.out, err = f.from.desc.Copy(); err != nil {
			return err
		}
	}
	return nil
}

func closeFlows(list []flow) {
	for _, f := range list {
		for _, fd := range []int{f.in, f.out} {
			_ = closeSome(fd)
		}
	}
}

// push has senders send what they hold back (TCP_CORK, MSG_MORE, Nagle):
// setting TCP_NODELAY does, once (Linux net/ipv4/tcp.c:__tcp_sock_set_nodelay,
// v6.12). It is taken back by the same run of calls.
func (s *tcpSurvey) push(flows []flow) error {
	batches := map[int]*task.Batch{}
	for _, f := range flows {
		if f.from == nil || f.from.desc.InFlight() {
			continue
		}
		was, err := unix.GetsockoptInt(f.out, unix.IPPROTO_TCP, unix.TCP_NODELAY)
		if err != nil {
			return fmt.Errorf("getsockopt TCP_NODELAY: %w", err)
		}
		b := batches[f.from.desc.Proc]
		if b == nil {
			b = &task.Batch{}
			batches[f.from.desc.Proc] = b
		}
		for _, value := range []int{1, was} {
			addOption(b, f.from.desc.FD, unix.IPPROTO_TCP, unix.TCP_NODELAY, value)
		}
	}
	for proc, b := range batches {
		p, err := s.all.Inside(proc)
		if err != nil {
			return err
		}
		if err := p.Run(b); err != nil {
			return err
		}
	}
	return nil
}

// addOption adds a setsockopt(2) of an int.
func addOption(b *task.Batch, fd, level, name, value int) *task.Call {
	return b.Add(unix.SYS_SETSOCKOPT, fd, level, name, binary.LittleEndian.AppendUint32(nil, uint32(value)), 4)
}

// awaitFlows waits for data to arrive, and gives the flows where some is left.
func awaitFlows(flows []flow, patience time.Duration) (left []flow, err error) {
	const moment = 200 * time.Microsecond
	for deadline := time.Now().Add(patience); ; task.Nap(moment) {
		left = nil
		for _, f := range flows {
			more, err := f.move()
			if err != nil {
				return nil, err
			}
			if more {
				left = append(left, f)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left, nil
		}
	}
}

// move has the receiver acknowledge what it has, and tells whether there is
// more to come.
func (f *flow) move() (bool, error) {
	if f.out < 0 {
		// The end of what a closed end has sent is its FIN.
		info, err := unix.GetsockoptTCPInfo(f.in, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return false, fmt.Errorf("getsockopt TCP_INFO: %w", err)
		}
		return TCPState(info.State).in(tcpEstablished, tcpFinWait1, tcpFinWait2), nil
	}
	left, err := unix.IoctlGetInt(f.out, unix.TIOCOUTQ)
	if err != nil {
		return false, fmt.Errorf("ioctl TIOCOUTQ: %w", err)
	}
	if left == 0 {
		return false, nil
	}
	return true, acknowledge(f.in)
}

// acknowledge sends an acknowledgement that is held back. Whether the kernel
// holds back the next is as before.
func acknowledge(fd int) error {
	was, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK)
	if err != nil {
		return fmt.Errorf("getsockopt TCP_QUICKACK: %w", err)
	}
	for _, value := range []int{1, was} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, value); err != nil {
			return fmt.Errorf("set TCP_QUICKACK: %w", err)
		}
	}
	return nil
}

// sameReader gives the first flows whose receivers belong to one process, and
// moves them to the front.
func sameReader(flows []flow) []flow {
	n := 0
	for i := range flows {
		if flows[i].to.desc.Proc == flows[0].to.desc.Proc {
			flows[n], flows[i] = flows[i], flows[n]
			n++
		}
	}
	return flows[:n]
}

// makeRoom gives receivers of one process room for what is under way, waits
// for it, and takes the room back.
func (s *tcpSurvey) makeRoom(flows []flow) error {
	p, err := s.all.Inside(flows[0].to.desc.Proc)
	if err != nil {
		return err
	}
	var b task.Batch
	var rooms []room
	patience := settlePatience
	for _, f := range flows {
		r, err := f.room()
		if err != nil {
			return err
		}
		if r.locks&receiveLock != 0 {
			patience = tightPatience
		}
		rooms = append(rooms, r)
		r.give(&b, f.to.desc.FD)
	}
	b.Pause(func() error {
		if err := s.all.Moment("settle"); err != nil {
			return err
		}
		left, err := awaitRoom(flows, patience)
		if err != nil || len(left) == 0 {
			return err
		}
		for i, f := range flows {
			rooms[i].force(f.in)
		}
		_, err = awaitRoom(left, patience/3) // what is left is refused later
		return err
	})
	for i, f := range flows {
		rooms[i].takeBack(&b, f.to.desc.FD)
	}
	err = p.Run(&b)
	for i, f := range flows {
		rooms[i].unforce(f.in)
	}
	return err
}

// awaitRoom waits as awaitFlows does, and has receivers tell their senders of
// the room that they have: they do when they are read, even without taking
// anything out (Linux net/ipv4/tcp.c:tcp_cleanup_rbuf, v6.12).
func awaitRoom(flows []flow, patience time.Duration) (left []flow, err error) {
	for deadline := time.Now().Add(patience); ; {
		for _, f := range flows {
			ready, err := fdstate.Poll(f.in, unix.POLLIN)
			if err != nil {
				return nil, err
			}
			if ready&unix.POLLERR != 0 { // a look would clear it
				continue
			}
			_, _, err = unix.Recvfrom(f.in, []byte{0}, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ECONNRESET) {
				return nil, fmt.Errorf("recv with MSG_PEEK: %w", err)
			}
		}
		left, err = awaitFlows(flows, 0)
		if err != nil || len(left) == 0 || time.Now().After(deadline) {
			return left, err
		}
		const moment = 200 * time.Microsecond
		task.Nap(moment)
	}
}

// room is what a receiver's limits are, and how much it needs.
type room struct {
	need                          int
	low, size, locks, clamp, peek int
	forced                        bool
}

// room asks what is to be changed.
func (f *flow) room() (r room, err error) {
	for _, o := range []struct {
		level, name int
		to          *int
	}{
		{unix.SOL_SOCKET, unix.SO_RCVLOWAT, &r.low}, {unix.SOL_SOCKET, unix.SO_RCVBUF, &r.size}, {unix.SOL_SOCKET, soBufLock, &r.locks},
		{unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, &r.clamp}, {unix.SOL_SOCKET, unix.SO_PEEK_OFF, &r.peek},
	} {
		*o.to, err = unix.GetsockoptInt(f.in, o.level, o.name)
		if errors.Is(err, unix.EOPNOTSUPP) && o.name == unix.SO_PEEK_OFF { // before Linux 6.9
			r.peek, err = -1, nil
		}
		if err != nil {
			return r, fmt.Errorf("getsockopt %d of level %d: %w", o.name, o.level, err)
		}
	}
	for _, fd := range []int{f.in, f.out} {
		if fd < 0 {
			r.need += int(f.to.other.wqueue)
			continue
		}
		request := uint(unix.TIOCINQ)
		if fd == f.out {
			request = unix.TIOCOUTQ
		}
		n, err := unix.IoctlGetInt(fd, request)
		if err != nil {
			return r, fmt.Errorf("ioctl: %w", err)
		}
		r.need += n
	}
	// What is charged for pieces is more than what is in them. A sender that
	// waits for room fills what is too much.
	const overhead, margin = 2, 64 << 10
	r.need = overhead*r.need + margin
	return r, nil
}

// give adds the calls that give room. SO_RCVLOWAT is what an ordinary user can
// ask for much room by: the kernel makes as much as it would by itself for a
// fast connection (Linux net/ipv4/tcp.c:tcp_set_rcvlowat, v6.12).
func (r *room) give(b *task.Batch, fd int) {
	if r.peek >= 0 {
		addOption(b, fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, -1)
	}
	if r.locks&receiveLock != 0 {
		addOption(b, fd, unix.SOL_SOCKET, soBufLock, r.locks&^receiveLock)
	}
	addOption(b, fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, r.need)
}

// force gives as much room as it takes, if we may.
func (r *room) force(fd int) {
	r.forced = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, r.need) == nil // which doubles it
}

// unforce takes that back. Should we die before, more room than there was does
// no harm.
func (r *room) unforce(fd int) {
	if r.forced {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, r.size/2)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, soBufLock, r.locks)
	}
}

// takeBack adds the calls that set everything as it was. A limit that the
// program has not set stays where it is: it is the kernel's own.
func (r *room) takeBack(b *task.Batch, fd int) {
	addOption(b, fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, r.low)
	if r.locks&receiveLock != 0 {
		addOption(b, fd, unix.SOL_SOCKET, unix.SO_RCVBUF, r.size/2)
		addOption(b, fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, r.size/2).Optional() // where the size was set so
	}
	addOption(b, fd, unix.SOL_SOCKET, soBufLock, r.locks)
	if r.locks&receiveLock != 0 {
		addOption(b, fd, unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, r.clamp).Optional()
	}
	if r.peek >= 0 {
		addOption(b, fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, r.peek)
	}
}
