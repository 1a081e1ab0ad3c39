package netstate

import (
	"errors"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// house gives a socket a number in the builder, if it has none yet.
func (n *tcpNet) house(s *tcpSock) {
	if s.home == nil {
		s.home, s.num = n.o.Proc, n.o.Reserve()
	}
}

// close queues the closing of a socket that the builder has.
func (n *tcpNet) close(s *tcpSock) {
	n.o.Call("close", unix.SYS_CLOSE, s.num)
	n.o.GiveBack(s.num)
	s.home = nil
}

// fit tells how many things, with so many descriptors each, the builder has room
// for. If it is not for all, what it has goes to a keeper first.
func (n *tcpNet) fit(things, each int) (int, error) {
	const spare = 64 // for what comes later
	room := func() int { return (n.o.Room() - spare) / each }
	if room() < things {
		if err := n.stow(); err != nil {
			return 0, err
		}
	}
	if room() < 1 {
		return 0, &HostError{Why: "a process may not have enough descriptors to restart this tree", Hint: "raise the limit (ulimit -Hn)"}
	}
	return min(things, room()), nil
}

// stow leaves the sockets that the builder has to a keeper. Their numbers are
// free then.
func (n *tcpNet) stow() error {
	var list []*tcpSock
	for _, s := range n.socks {
		if s.home == n.o.Proc && (s.file == nil || !n.o.Stays(s.file)) {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil
	}
	keeper, err := n.o.Keeper()
	if err != nil {
		return err
	}
	for _, s := range list {
		num := s.num
		n.close(s)
		s.home, s.num = keeper, num
	}
	return n.o.Run()
}

// put says where the sockets are.
func (n *tcpNet) put() {
	for _, s := range n.socks {
		switch {
		case s.file == nil:
		case s.home == n.o.Proc:
			n.o.Put(s.file, nil, s.num)
		default:
			n.o.Put(s.file, s.home, s.num)
		}
	}
}

// pidfd is ours of a process that has sockets.
func (n *tcpNet) pidfd(p *task.Process) (int, error) {
	if fd, ok := n.pidfds[p]; ok {
		return fd, nil
	}
	fd, err := p.Pidfd()
	if err == nil {
		n.pidfds[p] = fd
	}
	return fd, err
}

func (n *tcpNet) closePidfds() error {
	var errs []error
	for _, fd := range n.pidfds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
