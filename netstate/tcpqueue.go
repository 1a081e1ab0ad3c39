package netstate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// settle waits until what is on its way has arrived, so that everything that
// was sent is in the queue of its receiver.
func (s *tcpSurvey) settle() error {
	if s.ready {
		return nil
	}
	s.ready = true
	return nil
}

// refuseUnderWay refuses a connection with something on its way.
func refuseUnderWay(e *tcpEnd, fd int) error {
	left, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	if err != nil {
		return fmt.Errorf("ioctl TIOCOUTQ: %w", err)
	}
	if left > 0 || e.other != nil && e.other.ino == 0 && e.other.state != tcpNewSynRecv && e.other.wqueue > 0 {
		return fdstate.RefuseNow("data that it has sent has not arrived yet")
	}
	return nil
}

// readTCPQueue copies what has been received. Nothing is taken out.
func readTCPQueue(rec *TCP, fd int) error {
	size, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return fmt.Errorf("ioctl TIOCINQ: %w", err)
	}
	if size == 0 {
		return nil
	}
	rec.Queue = make([]byte, size)
	n, _, err := unix.Recvfrom(fd, rec.Queue, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("recv with MSG_PEEK: %w", err)
	}
	if n != size {
		return fmt.Errorf("recv with MSG_PEEK: %d of %d bytes", n, size)
	}
	return nil
}

// fill has the other end send what was in a socket's queue.
func (n *tcpNet) fill(s *tcpSock) error {
	if len(s.rec.Queue) == 0 || s.other == nil {
		return nil
	}
	return n.with(s.other, func(_ *tcpSock, fd int) error {
		for rest := s.rec.Queue; len(rest) > 0; {
			sent, err := sendmsg(fd, rest, nil, nil)
			if err != nil {
				return err
			}
			rest = rest[sent:]
		}
		return nil
	})
}
