package netstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// The kernel marks an empty message when it is first looked at, and does not
// show it again to who looks at an offset (Linux
// net/core/datagram.c:__skb_try_recv_from_queue, v6.12). So the second
// snapshot of the same queue would lose it. What the sender is charged for
// tells that there is one: the same messages, sent once more between sockets of
// ours, are charged less.

// refuseHidden refuses a queue with messages that were not shown.
func (s *unixSurvey) refuseHidden(rec *Unix, e *unixEnd) error {
	sender := s.ends[e.entry.peer]
	if rec.Type == unix.SOCK_STREAM || sender == nil || sender.entry.peer != e.entry.ino || sender.entry.unread == 0 {
		return nil
	}
	empty, err := charge(rec.Type, []UnixMessage{{}})
	if err != nil {
		return err
	}
	shown, err := charge(rec.Type, e.queue)
	if err != nil {
		return err
	}
	if more := int(sender.entry.unread) - shown; more > 0 && more%empty == 0 {
		return fdstate.RefuseNow(fmt.Sprintf("%d empty messages wait in it that an earlier snapshot has seen", more/empty))
	}
	return nil
}

// charge is what a sender is charged for messages that nobody has read.
func charge(typ int, queue []UnixMessage) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	const plenty = 64 << 20
	if unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, plenty) != nil {
		if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, plenty); err != nil {
			return 0, err
		}
	}
	for _, m := range queue {
		if _, err := sendmsg(pair[0], m.Data, nil, nil); err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EMSGSIZE) {
				return 0, nil // more than we may send: not to be told
			}
			return 0, fmt.Errorf("send a message to ourselves: %w", err)
		}
	}
	return unix.IoctlGetInt(pair[0], unix.TIOCOUTQ)
}
