package netstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// Unix is the image record of a unix socket.
type Unix struct {
	ID   uint64    `cbor:"1,keyasint" json:"id"`
	Type int       `cbor:"2,keyasint" json:"type"` // SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
	Name *UnixName `cbor:"3,keyasint,omitempty" json:"name,omitempty"`

	// Peer is the other end, or what a datagram socket is connected to. Gone
	// is there in its place when that has been closed.
	Peer uint64 `cbor:"4,keyasint,omitempty" json:"peer,omitempty"`
	Gone *Gone  `cbor:"5,keyasint,omitempty" json:"gone,omitempty"`

	Listen   *Listen       `cbor:"6,keyasint,omitempty" json:"listen,omitempty"`
	Shutdown uint8         `cbor:"7,keyasint,omitempty" json:"shutdown,omitempty"`
	Cred     *Cred         `cbor:"8,keyasint,omitempty" json:"cred,omitempty"` // SO_PEERCRED
	Queue    []UnixMessage `cbor:"9,keyasint,omitempty" json:"queue,omitempty"`
	Options  []Option      `cbor:"10,keyasint,omitempty" json:"options,omitempty"`
	Buffers  Buffers       `cbor:"11,keyasint" json:"buffers"`
	Filter   *Filter       `cbor:"12,keyasint,omitempty" json:"filter,omitempty"`

	// Control is there in the place of a peer when that is the supervisor: what
	// this has to know about the connection, which is its own business.
	Control []byte `cbor:"13,keyasint,omitempty" json:"control,omitempty"`

	net *unixNet
}

// UnixName is what a socket was bound to, as getsockname(2) gives it: a path,
// or an abstract name after a zero byte.
type UnixName struct {
	Path []byte `cbor:"1,keyasint" json:"path"`
	File *Bound `cbor:"2,keyasint,omitempty" json:"file,omitempty"` // nil if the path leads elsewhere, or nowhere
}

// abstract tells whether there is no path to it.
func (n *UnixName) abstract() bool { return n.Path[0] == 0 }

// Bound is the file that a path leads to.
type Bound struct {
	Dir  string `cbor:"1,keyasint,omitempty" json:"dir,omitempty"` // that a relative path begins in
	Mode uint32 `cbor:"2,keyasint" json:"mode"`
	UID  uint32 `cbor:"3,keyasint,omitempty" json:"uid"`
	GID  uint32 `cbor:"4,keyasint,omitempty" json:"gid"`
}

// Gone is another end that has been closed, or that is outside the tree.
type Gone struct {
	Name    []byte `cbor:"1,keyasint,omitempty" json:"name,omitempty"`
	Reset   bool   `cbor:"2,keyasint,omitempty" json:"reset,omitempty"` // with something unread: ECONNRESET waits
	Outside bool   `cbor:"3,keyasint,omitempty" json:"outside,omitempty"`
}

// Listen is what a listening socket has.
type Listen struct {
	Backlog int       `cbor:"1,keyasint" json:"backlog"`
	Waiting []Waiting `cbor:"2,keyasint,omitempty" json:"waiting,omitempty"`
}

// Waiting is a connection that nobody has accepted yet.
type Waiting struct {
	ID   uint64 `cbor:"1,keyasint" json:"id"` // of the end that is there
	Cred Cred   `cbor:"2,keyasint" json:"cred"`
}

// Cred is who is at the other end, or who sent a message, as the tree sees
// them (man 7 unix, struct ucred).
type Cred struct {
	PID task.ID `cbor:"1,keyasint" json:"pid"`
	UID uint32  `cbor:"2,keyasint,omitempty" json:"uid"`
	GID uint32  `cbor:"3,keyasint,omitempty" json:"gid"`

	// Groups are the other groups of who is at the other end (SO_PEERGROUPS); nil
	// where that is not known, as of who sent a message.
	Groups []uint32 `cbor:"4,keyasint" json:"groups,omitempty"`
}

// ids tell who is meant.
type ids struct {
	pid      task.ID
	uid, gid uint32
}

func (c *Cred) ids() ids { return ids{c.PID, c.UID, c.GID} }

// UnixMessage is a part of a queue that stays together: a datagram, or what
// one process sent with the same descriptors.
type UnixMessage struct {
	Data  []byte `cbor:"1,keyasint" json:"data"`
	From  []byte `cbor:"2,keyasint,omitempty" json:"from,omitempty"` // name of the sender of a datagram
	Cred  *Cred  `cbor:"3,keyasint,omitempty" json:"cred,omitempty"` // if it was sent with them
	Files []int  `cbor:"4,keyasint,omitempty" json:"files,omitempty"`
}

// Carries are the descriptors in flight.
func (rec *Unix) Carries() []int {
	var files []int
	for i := range rec.Queue {
		files = append(files, rec.Queue[i].Files...)
	}
	return files
}

// connected tells whether it is one end of a connection.
func (rec *Unix) connected() bool {
	return rec.Type != unix.SOCK_DGRAM && (rec.Peer != 0 || rec.Gone != nil || rec.Control != nil)
}

// Check is for records out of an image.
func (rec *Unix) Check(s *fdstate.State) error {
	if rec.ID == 0 || rec.Type != unix.SOCK_STREAM && rec.Type != unix.SOCK_DGRAM && rec.Type != unix.SOCK_SEQPACKET {
		return errors.New("not a unix socket")
	}
	if rec.Name != nil && (len(rec.Name.Path) == 0 || len(rec.Name.Path) > maxUnixPath) || rec.Gone != nil && len(rec.Gone.Name) > maxUnixPath {
		return errors.New("not the name of a unix socket")
	}
	if rec.Control != nil && (rec.Type != unix.SOCK_STREAM || rec.Peer != 0 || rec.Gone != nil || rec.Listen != nil) {
		return errors.New("not a control connection")
	}
	if err := errors.Join(checkOptions(rec.Options), rec.Filter.check()); err != nil {
		return err
	}
	for _, m := range rec.Queue {
		if len(m.From) > maxUnixPath {
			return errors.New("not the name of a unix socket")
		}
		if len(m.Files) > maxInFlight {
			return errors.New("too many descriptors in a message")
		}
	}
	for _, file := range rec.Carries() {
		if file < 0 || file >= len(s.Files) || len(s.Files[file].Data) == 0 {
			return fmt.Errorf("no file %d to be in flight", file)
		}
	}
	return nil
}

const (
	maxUnixPath = 108 // sizeof(sun_path)
	maxInFlight = 253 // SCM_MAX_FD, Linux include/net/scm.h
)

// Restore has the socket made with all others, when every shared description
// is open: messages carry them.
func (rec *Unix) Restore(o *fdstate.Opener, f *fdstate.File, at fdstate.Slot) error {
	if len(rec.net.socks) == 0 {
		o.AfterLast(rec.net.restore)
	}
	rec.net.add(&unixSock{rec: rec, flags: f.Flags, num: at.Num, link: f.Link, rule: f.Rule()})
	return nil
}

// KeepsFlags: they are set when there is a socket.
func (*Unix) KeepsFlags() {}
