// Package netstate captures and restores sockets. It has the same form as
// fdstate, and its kinds are rows of the same table.
//
// Of a connection that leads out of the tree only this end is captured. All
// else is refused by family, type, state and addresses, so that a user sees
// which connection it is.
package netstate

import (
	"slices"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/task"
)

// Sockets is the sockets of one snapshot, or of one restart: they have parts in
// one another.
type Sockets struct {
	survey *unixSurvey
	net    *unixNet
	kept   kept

	// Image is the id of the snapshot that is restarted. Private: the tree gets
	// a network namespace of its own.
	Image   string
	Private bool
}

// New begins a snapshot or a restart. control has what belongs to control
// connections of the tree, by the inode of the supervisor's end.
func New(control map[uint32][]byte) *Sockets {
	return &Sockets{
		survey: &unixSurvey{ends: map[uint32]*unixEnd{}, waits: map[uint32]bool{}, control: control, fresh: usuals{}},
		net:    &unixNet{byID: map[uint64]*unixSock{}, doors: map[doorKey]*door{}, strays: map[string]int{}, copies: map[int]int{}},
	}
}

// Kinds lists the families of sockets.
func (s *Sockets) Kinds() []fdstate.Kind {
	survey, net := s.survey, s.net
	tcp := &tcpSurvey{ends: map[uint32]*tcpEnd{}, fresh: usuals{}, kept: &s.kept}
	tcpNet := &tcpNet{byID: map[uint64]*tcpSock{}, pidfds: map[*task.Process]int{}, doors: map[uint16]bool{}, keeping: keeping{image: s.Image, private: s.Private}}
	return slices.Concat(datagramKinds(), []fdstate.Kind{ // tags are in images: never renumber
		{Tag: 200, Name: "unix socket", Match: family(unix.AF_UNIX), Explore: survey.explore, Outside: survey.leadsOutside, Ends: survey.endsOf, Capture: survey.capture,
			New: func() fdstate.Record { return &Unix{net: net} }, Shared: true, Only: "but connections out of the tree end with a restart, or are made anew by a rule"},
		{Tag: 220, Name: "tcp socket", Match: isTCP, Explore: tcp.explore, Outside: tcp.leadsOutside, Ends: tcp.endsOf, Capture: tcp.capture,
			New: func() fdstate.Record { return &TCP{net: tcpNet} }, Shared: true, Only: "but connections out of the tree end with a restart, or are made anew by a rule"},
	}, refusedKinds())
}

// isSocket matches sockets, except those that are open as a path only.
func isSocket(d *fdstate.Desc) bool {
	return d.Stat.Mode&unix.S_IFMT == unix.S_IFSOCK && d.Flags()&unix.O_PATH == 0
}

func family(domain int) func(*fdstate.Desc) bool {
	return func(d *fdstate.Desc) bool { return isSocket(d) && d.Socket.Domain == domain }
}

// WithFiles is the whole table of kinds: files and sockets.
func (s *Sockets) WithFiles() []fdstate.Kind { return slices.Concat(fdstate.Kinds, s.Kinds()) }

// WithFiles is the whole table of kinds, to read what there is in it.
func WithFiles() []fdstate.Kind { return New(nil).WithFiles() }
