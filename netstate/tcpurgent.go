package netstate

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// TCPUrgent is the byte that the other end has sent as urgent (MSG_OOB). It is
// a place in what was received, where reads stop (man 7 tcp, SIOCATMARK).
type TCPUrgent struct {
	At   int  `cbor:"1,keyasint" json:"at"` // how much of the queue comes before it
	Byte byte `cbor:"2,keyasint" json:"byte"`
	Read bool `cbor:"3,keyasint,omitempty" json:"read,omitempty"` // by MSG_OOB; the place is left
}

// marked tells whether there is urgent data in a queue, or the mark that is left
// of it: what TIOCINQ counts ends there (Linux include/net/tcp.h:tcp_inq,
// v6.12). The list counts all, and the end as one.
func marked(e *tcpEnd, fd, size int) (bool, error) {
	ready, err := fdstate.Poll(fd, unix.POLLPRI)
	if err != nil || ready&unix.POLLPRI != 0 || e.entry == nil {
		return ready&unix.POLLPRI != 0, err
	}
	if e.entry.state.otherFIN() {
		size++
	}
	return size < int(e.entry.rqueue), nil
}

// readUrgent copies a queue with urgent data in it. While the socket has the
// option SO_OOBINLINE, a look sees everything.
func (s *tcpSurvey) readUrgent(rec *TCP, e *tcpEnd, fd int) error {
	if rec.Repair != nil {
		return fdstate.RefuseNow("urgent data (MSG_OOB) waits to be read from it, which cannot be kept")
	}
	options, err := lend(fd, lent{level: unix.SOL_SOCKET, name: unix.SO_OOBINLINE, during: 1},
		lent{level: unix.SOL_SOCKET, name: unix.SO_PEEK_OFF, during: -1})
	switch {
	case err != nil:
		return err
	case len(options) < 2: // SO_PEEK_OFF came to TCP with Linux 6.9
		return fdstate.RefuseNow("urgent data (MSG_OOB) waits to be read from it")
	case e.desc.InFlight():
		return fdstate.RefuseNow("urgent data (MSG_OOB) waits to be read from it, and no process has it while it is in a message")
	}
	return lookInside(e.desc, s.all, options, func() error { return peekUrgent(rec, fd) })
}

// peekUrgent looks at a queue with a mark. The first look ends there, unless it
// begins there.
func peekUrgent(rec *TCP, fd int) error {
	size, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return fmt.Errorf("ioctl TIOCINQ: %w", err)
	}
	const siocAtMark = 0x8905 // SIOCATMARK
	at, err := unix.IoctlGetInt(fd, siocAtMark)
	if err != nil {
		return fmt.Errorf("ioctl SIOCATMARK: %w", err)
	}
	ready, err := fdstate.Poll(fd, unix.POLLPRI)
	if err != nil {
		return err
	}
	if err := peekTCP(rec, fd, size, true); err != nil {
		return err
	}
	mark := len(rec.Queue)
	switch {
	case at != 0:
		mark = 0
	case mark == size:
		return fdstate.RefuseNow("urgent data (MSG_OOB) is on its way to it")
	}
	if rest := size - len(rec.Queue); rest > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, mark); err != nil {
			return fmt.Errorf("set SO_PEEK_OFF: %w", err)
		}
		before := rec.Queue
		if err := peekTCP(rec, fd, rest, false); err != nil {
			return err
		}
		rec.Queue = append(before, rec.Queue...)
	}
	if mark >= len(rec.Queue) {
		return fdstate.RefuseNow("urgent data (MSG_OOB) is on its way to it")
	}
	rec.Urgent = &TCPUrgent{At: mark, Byte: rec.Queue[mark], Read: ready&unix.POLLPRI == 0}
	rec.Queue = slices.Delete(rec.Queue, mark, mark+1)
	return nil
}

// check is for records out of an image.
func (u *TCPUrgent) check(rec *TCP) error {
	if u != nil && (u.At < 0 || u.At > len(rec.Queue) || rec.Repair != nil) {
		return errors.New("urgent data that is not in the queue")
	}
	return nil
}

// pourAll sends all that a socket had received.
func (rec *TCP) pourAll(f flow, arrive bool) error {
	u := rec.Urgent
	if u == nil {
		return pour(f, rec.Queue, 0, arrive)
	}
	if err := pour(f, rec.Queue[:u.At], 0, arrive); err != nil {
		return err
	}
	if err := pour(f, []byte{u.Byte}, unix.MSG_OOB, arrive || u.Read); err != nil {
		return err
	}
	if u.Read {
		if _, _, err := unix.Recvfrom(f.in, []byte{0}, unix.MSG_OOB|unix.MSG_DONTWAIT); err != nil {
			return fmt.Errorf("recv with MSG_OOB: %w", err)
		}
	}
	return pour(f, rec.Queue[u.At:], 0, arrive)
}
