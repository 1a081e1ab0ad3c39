package netstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/procfs"
	"supervise/policy"
)

// A connection whose other end is outside the tree cannot be had again: the
// kernel makes new connections only. So a restart says to the program what it
// would have seen had the other end gone away, or connects it anew where a
// rule allows that. What a datagram socket sends to is only a name.

// outside records a connection that leads out of the tree.
func (s *unixSurvey) outside(rec *Unix, e *unixEnd, fd int, all *fdstate.Survey) error {
	name, err := peerName(fd)
	if err != nil {
		return err
	}
	if len(name) == 0 && e.entry.peer != 0 {
		name = trimPath(s.table[e.entry.peer].name)
	}
	rec.Gone = &Gone{Name: name, Outside: true}
	if rec.Cred == nil {
		return nil
	}
	// Who is at the other end may live on, so that nobody else can have that id.
	p := all.Procs[e.desc.Proc]
	st, err := procfs.ReadStatus(int(p.Held.PID))
	rec.Cred = &Cred{PID: p.Held.ID, UID: uint32(st.UIDs[1]), GID: uint32(st.GIDs[1]), Groups: groupList(st.Groups)}
	return err
}

// Ends are the socket's for rules.
func (rec *Unix) Ends() policy.Ends {
	var e policy.Ends
	if rec.Name != nil {
		e.Local = printName(rec.Name.Path)
	}
	if rec.Gone != nil {
		e.Peer = printName(rec.Gone.Name)
	}
	return rec.direct(e)
}

// direct completes ends.
func (rec *Unix) direct(e policy.Ends) policy.Ends {
	switch {
	case rec.Listen != nil:
		e.Direction = "listen"
	case e.Local != "" && e.Peer == "":
		e.Direction = "in"
	case e.Peer != "":
		e.Direction = "out"
	}
	return e
}

// endsOf are those of a socket of a running tree.
func (s *unixSurvey) endsOf(d *fdstate.Desc) policy.Ends {
	e := s.ends[uint32(d.Stat.Ino)]
	if e == nil {
		return policy.Ends{}
	}
	ends := policy.Ends{Local: printName(e.entry.name)}
	if e.entry.peer != 0 {
		ends.Peer = printName(s.table[e.entry.peer].name)
	}
	rec := &Unix{}
	if e.entry.state == stateListen {
		rec.Listen = &Listen{}
	}
	return rec.direct(ends)
}

// decide does to a connection that leads out of the tree what a rule says. By
// default the program gets ECONNRESET, and what it sends datagrams to is looked
// for by name.
func (s *unixSock) decide() error {
	gone := s.rec.Gone
	if gone == nil || !gone.Outside {
		return nil
	}
	datagram := s.rec.Type == unix.SOCK_DGRAM
	switch rule := s.rule; {
	case rule.Does(policy.Keep):
		return &HostError{Why: fmt.Sprintf("the unix connection to %s leads out of the tree, and cannot be kept (%s)", printName(gone.Name), rule.Origin),
			Hint: "use reset, hangup or connect"}
	case rule.Does(policy.Connect):
		s.to = gone.Name
		if rule.To != "" {
			s.to = parseName(rule.To)
		}
		if len(s.to) == 0 {
			return &HostError{Why: "what " + s.link + " was connected to has no name (" + rule.Origin + ")", Hint: "give connect a to=PATH"}
		}
	case datagram && rule == nil:
		s.to = gone.Name
	default:
		gone.Reset = !datagram && !rule.Does(policy.Hangup)
		if len(gone.Name) > 0 && gone.Name[0] == 0 {
			gone.Name = nil // somebody has that
		}
	}
	if s.to != nil && !datagram {
		s.rec.Queue = nil // of the old connection
	}
	return nil
}

// parseName is the inverse of printName.
func parseName(name string) []byte {
	if name[0] == '@' {
		return append([]byte{0}, name[1:]...)
	}
	return []byte(name)
}

// reconnect connects a socket to somebody outside.
func (n *unixNet) reconnect(s *unixSock) error {
	if err := n.socket(s.rec.Type|unix.SOCK_NONBLOCK, s.num); err != nil {
		return err
	}
	if s.rec.Name != nil {
		if _, err := n.bindName(s.num, s.rec.Name); err != nil {
			return err
		}
	}
	if err := n.knock(s.num, nil, sockaddr(s.to)); err != nil {
		return &HostError{Why: "cannot connect to the unix socket " + printName(s.to) + " again", Err: err, Hint: "start the program that serves it, or say reset"}
	}
	return nil
}

// sendTo makes a datagram socket send to a name outside. If nobody has it any
// more, sending fails as it does when the other end has been closed.
func (n *unixNet) sendTo(s *unixSock) (done bool, err error) {
	err = n.knock(s.num, nil, sockaddr(s.to))
	for _, gone := range []error{unix.ENOENT, unix.ECONNREFUSED, unix.EPROTOTYPE, unix.ENOTSOCK} {
		if errors.Is(err, gone) && !s.rule.Does(policy.Connect) {
			return false, nil
		}
	}
	if err != nil && !errors.Is(err, unix.EPERM) {
		err = &HostError{Why: "cannot send to the unix socket " + printName(s.to) + " again", Err: err, Hint: "start the program that serves it, or say reset"}
	}
	return true, err
}

// rename binds a socket to what a rule says instead of its old name.
func (s *unixSock) rename() {
	if !s.rule.Does(policy.Bind) || s.rec.Name == nil {
		return
	}
	name := &UnixName{Path: parseName(s.rule.To)}
	if !name.abstract() {
		name.File = &Bound{Mode: 0o755}
		if old := s.rec.Name.File; old != nil {
			file := *old
			file.Dir, name.File = "", &file
		}
	}
	s.rec.Name = name
}
