package netstate

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// refuseUnderWay refuses a connection with something on its way.
func refuseUnderWay(e *tcpEnd, fd int) error {
	left, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	if err != nil {
		return fmt.Errorf("ioctl TIOCOUTQ: %w", err)
	}
	if left > 0 || e.other != nil && e.other.ino == 0 && e.other.state != tcpNewSynRecv && e.other.wqueue > 0 {
		return fdstate.RefuseNow("data that was sent over it has not arrived yet")
	}
	return nil
}

// readQueue copies what has been received. Nothing is taken out. A program
// that looks ahead (SO_PEEK_OFF) would do so from another place after a look of
// ours: its option is set aside for the moment.
func (s *tcpSurvey) readQueue(rec *TCP, e *tcpEnd, fd int) error {
	size, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return fmt.Errorf("ioctl TIOCINQ: %w", err)
	}
	urgent, err := marked(e, fd, size)
	switch {
	case err != nil:
		return err
	case urgent:
		return s.readUrgent(rec, e, fd)
	case size == 0:
		return nil
	}
	offset, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF)
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && offset < 0 {
		return peekTCP(rec, fd, size, false)
	}
	switch {
	case err != nil:
		return fmt.Errorf("getsockopt SO_PEEK_OFF: %w", err)
	case e.desc.InFlight():
		return fdstate.RefuseNow("it looks ahead (SO_PEEK_OFF), and no process has it while it is in a message")
	}
	set := []lent{{unix.SOL_SOCKET, unix.SO_PEEK_OFF, offset, -1}}
	return lookInside(e.desc, s.all, set, func() error { return peekTCP(rec, fd, size, false) })
}

// peekTCP looks at the next size bytes of a queue. short: it may see fewer.
func peekTCP(rec *TCP, fd, size int, short bool) error {
	rec.Queue = make([]byte, size)
	n, _, err := unix.Recvfrom(fd, rec.Queue, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("recv with MSG_PEEK: %w", err)
	}
	rec.Queue = rec.Queue[:n]
	if n != size && !short {
		return fmt.Errorf("recv with MSG_PEEK: %d of %d bytes", n, size)
	}
	return nil
}

// fill has the other end send what was in a socket's queue. What the socket
// has no room for waits with its sender, unless that is a helper, which ends.
func (n *tcpNet) fill(s *tcpSock) error {
	if len(s.rec.Queue) == 0 && s.rec.Urgent == nil || s.other == nil {
		return nil
	}
	err := n.with(s, func(_ *tcpSock, in int) error {
		return n.with(s.other, func(_ *tcpSock, out int) error {
			return s.rec.pourAll(flow{out: out, in: in}, s.other.helper)
		})
	})
	if err != nil {
		return fmt.Errorf("put %d bytes back: %w", len(s.rec.Queue), err)
	}
	return nil
}

// pour sends data from one end to the other. The receiver gets more room only
// if the data needs it.
func pour(f flow, data []byte, flags int, arrive bool) error {
	for deadline := time.Now().Add(connectPatience); ; {
		for len(data) > 0 {
			sent, err := unix.SendmsgN(f.out, data, nil, nil, flags|unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return err
			}
			data = data[sent:]
		}
		left, err := awaitRoom([]flow{f}, 0)
		switch {
		case err != nil:
			return err
		case len(data) == 0 && (!arrive || len(left) == 0):
			return unix.SetsockoptInt(f.in, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1)
		case time.Now().After(deadline):
			return &HostError{Why: "the queue of a TCP socket does not take what was in it", Hint: "raise net.ipv4.tcp_rmem and net.ipv4.tcp_wmem"}
		}
		r, err := f.room()
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(f.in, unix.SOL_SOCKET, unix.SO_RCVLOWAT, r.need+len(data)); err != nil {
			return fmt.Errorf("set SO_RCVLOWAT: %w", err)
		}
		if time.Until(deadline) < connectPatience/2 {
			r.need += len(data)
			r.force(f.in)
			if err := unix.SetsockoptInt(f.in, unix.SOL_SOCKET, soBufLock, 0); err != nil {
				return fmt.Errorf("set SO_BUF_LOCK: %w", err)
			}
		}
	}
}
