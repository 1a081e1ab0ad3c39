package control

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

// handOver gives a connection that came here to the supervisor whose tree it
// comes from, and tells whether it is no longer ours: two must not read from
// it, so it is given away unless the other says that it has not taken it.
func handOver(fd int, path string) bool {
	to, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	defer to.Close()
	_ = to.SetDeadline(time.Now().Add(time.Second))
	line := []byte(`{"id":1,"request":"adopt"}` + "\n")
	if _, _, err := to.(*net.UnixConn).WriteMsgUnix(line, unix.UnixRights(fd), nil); err != nil {
		return false
	}
	answer := make([]byte, 4096)
	n, err := to.Read(answer)
	return err != nil || !strings.Contains(string(answer[:n]), `"error"`)
}

// adopt takes a connection from another supervisor.
func (s *Server) adopt(c *conn, p *pending) error {
	if len(c.files) != 1 {
		return &client.Error{Code: client.Malformed, Message: fmt.Sprintf("adopt: %d descriptors", len(c.files))}
	}
	fd := c.files[0]
	c.files = nil
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || !s.host.Inside(int(peer.Pid)) {
		unix.Close(fd)
		return &client.Error{Code: client.Denied, Message: "adopt: not a connection from inside the tree"}
	}
	adopted, err := s.newConn(fd)
	if err != nil {
		return err
	}
	adopted.peer, adopted.inside = *peer, true
	s.add(adopted)
	c.answer(p, struct{}{}, nil)
	return nil
}

// Continue goes on with a connection from before this process was executed,
// and answers what was asked then. It takes over the descriptor.
func (s *Server) Continue(fd int, id int64, result any) error {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		unix.Close(fd)
		return err
	}
	c, err := s.newConn(fd)
	if err != nil {
		return err
	}
	c.peer = *peer
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(c)
	c.answer(&pending{id: id}, result, nil)
	return nil
}

// duplicate gives a descriptor of the connection that outlives it.
func (c *conn) duplicate() (fd int, err error) {
	controlErr := c.raw.Control(func(open uintptr) { fd, err = unix.FcntlInt(open, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlErr, err)
}
