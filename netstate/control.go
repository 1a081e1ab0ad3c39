package netstate

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ControlEnd is the supervisor's end of a control connection that has been
// made anew.
type ControlEnd struct {
	FD    int // ours
	State []byte
}

// ControlEnds gives the ends, which are the caller's from now on.
func (s *Sockets) ControlEnds() []ControlEnd {
	ends := s.net.control
	s.net.control = nil
	return ends
}

// Abandon is for a restart that has failed: it closes what nobody has asked
// for, and removes the files of sockets.
func (s *Sockets) Abandon() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, end := range s.ControlEnds() {
		errs = append(errs, unix.Close(end.FD))
	}
	if s.net.stand == nil {
		return errors.Join(errs...)
	}
	for _, f := range s.net.stand.files {
		errs = append(errs, f.remove())
	}
	return errors.Join(errs...)
}

// makeControl makes a control connection: a pair, of which one end leaves the
// tree. What was on its way into the tree is sent from there.
func (n *unixNet) makeControl(s *unixSock) error {
	s.server = n.temp()
	if err := n.pair(s.rec.Type, nil, s.num, s.server); err != nil {
		return err
	}
	fd, err := n.o.Copy(s.server)
	if err == nil {
		n.control = append(n.control, ControlEnd{FD: fd, State: s.rec.Control})
	}
	return err
}
