package netstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/procfs"
	"supervise/internal/task"
)

// unixSurvey is what one snapshot knows of the unix sockets of its tree.
type unixSurvey struct {
	table   unixTable
	ends    map[uint32]*unixEnd // by inode
	waits   map[uint32]bool     // ends whose connections wait to be accepted in the tree
	waiting bool                // waits has been filled

	fresh    usuals
	nameless []*unixEnd        // those whose peers' ids are still to be asked for
	control  map[uint32][]byte // what belongs to control connections, by the inode of the peer
}

// unixEnd is a socket of the tree.
type unixEnd struct {
	desc        *fdstate.Desc
	entry       unixEntry
	queue       []UnixMessage
	cred        Cred
	credUnknown bool             // the PID in it is not the tree's
	refused     *fdstate.Refusal // found while exploring
}

// exploreUnix reads the queue of a socket, so that descriptors in flight are
// found before anything is recorded.
func (s *unixSurvey) explore(d *fdstate.Desc, all *fdstate.Survey) error {
	e := &unixEnd{desc: d}
	var err error
	if e.entry, err = s.find(uint32(d.Stat.Ino), all); err != nil {
		return err
	}
	s.ends[uint32(d.Stat.Ino)] = e
	if !d.InFlight() {
		s.nameless = append(s.nameless, e)
	}
	if e.entry.state == stateListen {
		return nil
	}
	fd, err := d.Copy()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = e.readQueue(fd, all)
	if no := (*fdstate.Refusal)(nil); errors.As(err, &no) {
		e.refused = no
		return nil
	}
	return err
}

// find tells about one socket, which must exist.
func (s *unixSurvey) find(ino uint32, all *fdstate.Survey) (unixEntry, error) {
	if e, ok := s.table[ino]; ok {
		return e, nil
	}
	fd, err := openNetlink(all, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return unixEntry{}, err
	}
	defer unix.Close(fd)
	if s.table == nil {
		s.table, err = readUnixTable(fd)
	}
	if err != nil {
		return unixEntry{}, err
	}
	return s.table.find(fd, ino)
}

// askCreds has the processes of the tree say who the peers of their sockets
// are, all of a process in one run: we would see other ids.
func (s *unixSurvey) askCreds(all *fdstate.Survey) error {
	type answer struct {
		e    *unixEnd
		cred []byte // struct ucred
	}
	batches, answers := map[int]*task.Batch{}, make([]answer, len(s.nameless))
	for i, e := range s.nameless {
		b := batches[e.desc.Proc]
		if b == nil {
			b = &task.Batch{}
			batches[e.desc.Proc] = b
		}
		answers[i] = answer{e, make([]byte, unix.SizeofUcred)}
		b.Add(unix.SYS_GETSOCKOPT, e.desc.FD, unix.SOL_SOCKET, unix.SO_PEERCRED, answers[i].cred, []byte{unix.SizeofUcred, 0, 0, 0})
	}
	s.nameless = nil
	for proc, b := range batches {
		p, err := all.Inside(proc)
		if err != nil {
			return err
		}
		if err := p.Run(b); err != nil {
			return fmt.Errorf("ask for the peers of sockets: %w", err)
		}
	}
	le := binary.LittleEndian
	for _, a := range answers {
		a.e.cred = Cred{PID: task.ID(le.Uint32(a.cred)), UID: le.Uint32(a.cred[4:]), GID: le.Uint32(a.cred[8:])}
	}
	return nil
}

// capture makes the record. All sockets are known by now.
func (s *unixSurvey) capture(d *fdstate.Desc, all *fdstate.Survey) (fdstate.Record, error) {
	e := s.ends[uint32(d.Stat.Ino)]
	if e.refused != nil {
		return nil, e.refused
	}
	if err := s.askCreds(all); err != nil {
		return nil, err
	}
	fd, err := d.Copy()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	rec := &Unix{ID: id(d), Shutdown: e.entry.shutdown, Queue: e.queue}
	if rec.Type, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, err
	}
	if rec.Cred, err = s.cred(e); err != nil {
		return nil, err
	}
	if rec.Cred != nil {
		if rec.Cred.Groups, err = peerGroups(fd); err != nil {
			return nil, err
		}
	}
	if rec.Name, err = s.name(e, all); err != nil {
		return nil, err
	}
	if e.entry.state == stateListen {
		rec.Listen, err = s.listen(e, all)
	} else {
		err = errors.Join(s.peer(rec, e, fd, all), s.refuseHidden(rec, e))
	}
	if err != nil {
		return nil, err
	}
	return rec, s.options(rec, fd, all)
}

// soPeerGroups is SO_PEERGROUPS (Linux include/uapi/asm-generic/socket.h).
const soPeerGroups = 59

// peerGroups are the groups of who made a connection. The kernel tells how much
// room it needs when there is not enough (Linux net/core/sock.c:sk_getsockopt, v6.12).
func peerGroups(fd int) ([]uint32, error) {
	const most = 1 << 16 // NGROUPS_MAX
	value := make([]byte, 4*most)
	n, err := getsockopt(fd, unix.SOL_SOCKET, soPeerGroups, value)
	groups := []uint32{}
	for ; err == nil && n >= 4; n -= 4 {
		groups = append(groups, binary.NativeEndian.Uint32(value[len(groups)*4:]))
	}
	return groups, err
}

// cred gives who is at the other end, if that is known to the kernel. Both ends
// that socketpair(2) has made say the same.
func (s *unixSurvey) cred(e *unixEnd) (*Cred, error) {
	if e.credUnknown {
		other := s.ends[e.entry.peer]
		if other == nil || other.credUnknown || len(e.entry.name)+len(other.entry.name) > 0 {
			return nil, fdstate.RefuseNow("it was connected by a process that is gone, and no process has it while it is in a message")
		}
		e = other
	}
	if e.cred.PID == 0 {
		return nil, nil
	}
	return &e.cred, nil
}

// id is what records call a socket.
func id(d *fdstate.Desc) uint64 { return uint64(d.Index()) + 1 }

// options reads what can be set.
func (s *unixSurvey) options(rec *Unix, fd int, all *fdstate.Survey) error {
	var err error
	if rec.Filter, err = readFilter(fd); err != nil {
		return err
	}
	fresh := s.fresh.of(all, unix.AF_UNIX, rec.Type, 0)
	if rec.Options, err = readOptions(fd, fresh, socketOptions); err != nil {
		return err
	}
	rec.Buffers, err = readBuffers(fd, fresh)
	return err
}

// peer finds the other end.
func (s *unixSurvey) peer(rec *Unix, e *unixEnd, fd int, all *fdstate.Survey) error {
	switch {
	case !e.entry.hasPeer:
		return nil
	case e.entry.peer != 0:
		other := s.ends[e.entry.peer]
		if other == nil && rec.Type == unix.SOCK_STREAM && s.control[e.entry.peer] != nil {
			rec.Control, rec.Cred = s.control[e.entry.peer], nil
			return nil
		}
		if other == nil {
			return s.outside(rec, e, fd, all)
		}
		rec.Peer = id(other.desc)
		if rec.Type == unix.SOCK_DGRAM && other.entry.peer != e.entry.ino && len(other.entry.name) == 0 {
			return fdstate.Refuse("the datagram socket that it sends to has neither a name nor this one as its peer", "")
		}
		return nil
	case s.isWaiting(e.entry.ino):
		return nil
	case rec.Type != unix.SOCK_DGRAM && e.entry.shutdown != shutRead|shutWrite:
		return s.outside(rec, e, fd, all) // it waits to be accepted there
	}
	name, err := peerName(fd)
	if err != nil {
		return err
	}
	ready, err := fdstate.Poll(fd, 0)
	rec.Gone = &Gone{Name: name, Reset: ready&unix.POLLERR != 0}
	return err
}

// leadsOutside tells whether the other end of a connection is not in the tree.
func (s *unixSurvey) leadsOutside(d *fdstate.Desc) bool {
	e := s.ends[uint32(d.Stat.Ino)]
	return e.entry.peer != 0 && s.ends[e.entry.peer] == nil && s.control[e.entry.peer] == nil
}

// isWaiting tells whether an end is in the backlog of a listener of the tree.
func (s *unixSurvey) isWaiting(ino uint32) bool {
	if !s.waiting {
		s.waiting = true
		for _, e := range s.ends {
			for _, ino := range e.entry.waiting {
				s.waits[ino] = true
			}
		}
	}
	return s.waits[ino]
}

// listen records a backlog. What a client has sent to a connection that is not
// accepted yet can be read only by accepting it.
func (s *unixSurvey) listen(e *unixEnd, all *fdstate.Survey) (*Listen, error) {
	rec := &Listen{Backlog: int(e.entry.backlog)}
	for _, ino := range e.entry.waiting {
		other := s.ends[ino]
		switch {
		case ino == 0:
			return nil, fdstate.RefuseNow("a connection that has been closed again waits to be accepted")
		case other == nil:
			return nil, fdstate.RefuseNow("a connection from outside the tree waits to be accepted")
		case other.entry.unread != 0:
			return nil, fdstate.RefuseNow("a connection waits to be accepted, with data in it")
		case other.desc.InFlight():
			return nil, fdstate.RefuseNow("a connection waits to be accepted whose other end is in flight")
		}
		p := all.Procs[other.desc.Proc]
		st, err := procfs.ReadStatus(int(p.Held.PID))
		if err != nil {
			return nil, err
		}
		// Who connected is not to be had before it is accepted. It is one of
		// those that have the other end, and nearly always the first.
		cred := Cred{PID: p.Held.Leader().Proc.ID, UID: uint32(st.UIDs[1]), GID: uint32(st.GIDs[1]), Groups: groupList(st.Groups)}
		rec.Waiting = append(rec.Waiting, Waiting{ID: id(other.desc), Cred: cred})
	}
	return rec, nil
}

// name records what a socket is bound to. The end of a connection needs no
// file: nothing can connect to it.
func (s *unixSurvey) name(e *unixEnd, all *fdstate.Survey) (*UnixName, error) {
	if len(e.entry.name) == 0 {
		return nil, nil
	}
	n := &UnixName{Path: trimPath(e.entry.name)}
	stream := e.entry.state == stateEstablished && !isDatagram(e.desc)
	if n.abstract() || !e.entry.bound || stream || e.desc.InFlight() {
		return n, nil
	}
	for _, dir := range e.workDirs(n, all) {
		var st unix.Stat_t
		err := unix.Lstat(fmt.Sprintf("/proc/%d/root%s", e.desc.PID, path.Join(dir, string(n.Path))), &st)
		// The diagnosis has 32 bits of the inode's number, and a device that
		// some file systems hide from stat(2).
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK && uint32(st.Ino) == e.entry.vfsIno {
			n.File = &Bound{Dir: dir, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
			return n, nil
		}
	}
	return n, nil
}

// workDirs are the directories that a name may begin in.
func (e *unixEnd) workDirs(n *UnixName, all *fdstate.Survey) []string {
	if n.Path[0] == '/' {
		return []string{""}
	}
	var dirs []string
	for _, u := range e.desc.Users {
		if cwd, err := procfs.Cwd(int(all.Procs[u.Proc].Held.PID)); err == nil {
			dirs = append(dirs, cwd)
		}
	}
	for _, p := range all.Procs {
		if cwd, err := procfs.Cwd(int(p.Held.PID)); err == nil {
			dirs = append(dirs, cwd)
		}
	}
	return dirs
}

func isDatagram(d *fdstate.Desc) bool { return d.Socket.Type == unix.SOCK_DGRAM }

// peerName is getpeername(2), also of a peer that has been closed.
func peerName(fd int) ([]byte, error) {
	name, err := rawPeerName(fd)
	if errors.Is(err, unix.ENOTCONN) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getpeername: %w", err)
	}
	return trimPath(name), nil
}

// printName prints a name for messages.
func printName(name []byte) string {
	name = trimPath(name)
	if len(name) > 0 && name[0] == 0 {
		return "@" + string(bytes.ReplaceAll(name[1:], []byte{0}, []byte{'@'}))
	}
	return string(name)
}
