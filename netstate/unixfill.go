package netstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// fill sends what was in a socket's queue once more.
func (n *unixNet) fill(s *unixSock) error {
	for i := range s.rec.Queue {
		m := &s.rec.Queue[i]
		from, to, err := n.sender(s, m)
		if err != nil {
			return err
		}
		if err := n.send(from, to, m, s.rec.Type == unix.SOCK_STREAM); err != nil {
			return fmt.Errorf("put %d bytes back: %w", len(m.Data), err)
		}
	}
	return nil
}

// sender gives the builder's number of the socket that sends a message to s,
// and the socket that it must name; nil if it is connected to s.
func (n *unixNet) sender(s *unixSock, m *UnixMessage) (int, *unixSock, error) {
	rec := s.rec
	switch {
	case s.dead >= 0:
		return s.dead, nil, nil
	case rec.Control != nil:
		return s.server, nil, nil
	case rec.connected(), rec.Type == unix.SOCK_DGRAM && rec.Cred != nil && rec.Peer != 0:
		return n.byID[rec.Peer].num, nil, nil
	case rec.Type != unix.SOCK_DGRAM || rec.Name == nil:
		return 0, nil, errors.New("nothing can send to it")
	}
	for _, other := range n.socks {
		if len(m.From) > 0 && other.rec.Type == unix.SOCK_DGRAM && other.rec.Name != nil && bytes.Equal(other.rec.Name.Path, m.From) {
			return other.num, s, nil
		}
	}
	if num, ok := n.strays[string(m.From)]; ok {
		return num, s, nil
	}
	num := n.temp()
	if err := n.socket(unix.SOCK_DGRAM, num); err != nil {
		return 0, nil, err
	}
	n.strays[string(m.From)] = num
	if len(m.From) == 0 {
		return num, s, nil
	}
	_, err := n.bindName(num, &UnixName{Path: m.From})
	return num, s, err
}

// send sends one message. Only streams take a part of one.
func (n *unixNet) send(from int, to *unixSock, m *UnixMessage, stream bool) error {
	send := n.sendOurselves
	if m.Cred != nil {
		send = n.sendAs
	}
	rest := *m
	for grown := false; ; {
		sent, err := send(from, to, &rest)
		switch {
		case errors.Is(err, unix.EAGAIN) && !grown:
			grown = true
			if err := n.grow(from); err != nil {
				return err
			}
			continue
		case errors.Is(err, unix.EAGAIN):
			return &HostError{Why: "the queue of a unix socket does not take what was in it", Err: err,
				Hint: "raise net.core.wmem_max and net.unix.max_dgram_qlen, or restart as root"}
		case err != nil:
			return err
		case sent < len(rest.Data) && !stream:
			return fmt.Errorf("only %d bytes went", sent)
		}
		rest.Data, rest.Files = rest.Data[sent:], nil
		if len(rest.Data) == 0 {
			return nil
		}
	}
}

// grow lets a socket send more than it may, until it gets its own limit.
func (n *unixNet) grow(num int) error {
	fd, err := n.copy(num)
	if err != nil {
		return err
	}
	const plenty = 64 << 20
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, plenty) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, plenty)
}

// sendOurselves sends through our own copy of the sender: so nothing is said
// about who did it.
func (n *unixNet) sendOurselves(from int, to *unixSock, m *UnixMessage) (int, error) {
	fd, err := n.copy(from)
	if err != nil {
		return 0, err
	}
	var oob, name []byte
	if len(m.Files) > 0 {
		fds := make([]int, len(m.Files))
		for i, file := range m.Files {
			if fds[i], err = n.copy(n.o.Place(file)); err != nil {
				return 0, err
			}
		}
		oob = unix.UnixRights(fds...)
	}
	if to != nil {
		ref := to.ref
		if ref >= 0 {
			if ref, err = n.copy(ref); err != nil {
				return 0, err
			}
		}
		name = n.address(to.rec.Name.Path, ref)[2:]
	}
	return sendmsg(fd, m.Data, oob, name)
}

// sendAs has a stand-in send, with its own id.
func (n *unixNet) sendAs(from int, to *unixSock, m *UnixMessage) (int, error) {
	p, err := n.stand.as(m.Cred)
	if err != nil {
		return 0, err
	}
	oob := unix.UnixCredentials(&unix.Ucred{Pid: int32(m.Cred.PID), Uid: m.Cred.UID, Gid: m.Cred.GID})
	if len(m.Files) > 0 {
		nums := make([]int, len(m.Files))
		for i, file := range m.Files {
			nums[i] = n.o.Place(file)
		}
		oob = append(oob, unix.UnixRights(nums...)...)
	}
	var addr []byte
	if to != nil {
		addr = n.address(to.rec.Name.Path, to.ref)
	}
	const header, align = 56 + 16, 16 // struct msghdr, struct iovec
	size := header + len(addr) + len(oob) + len(m.Data) + 3*align
	at, err := p.Call(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
	if err != nil {
		return 0, err
	}
	if err := task.Write(p.PID, task.Addr(at), message(uint64(at), addr, oob, m.Data)); err != nil {
		return 0, err
	}
	sent, err := p.Call(unix.SYS_SENDMSG, from, at, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	_, unmapErr := p.Call(unix.SYS_MUNMAP, at, size)
	return int(sent), errors.Join(err, unmapErr)
}

// message lays out what sendmsg(2) takes, for memory at an address: struct
// msghdr, struct iovec, name, control, data.
func message(at uint64, name, oob, data []byte) []byte {
	const iov, fields = 56, 56 + 16
	pad := func(b []byte) []byte { return append(b, make([]byte, (16-len(b)%16)%16)...) }
	body := pad(make([]byte, fields))
	place := func(part []byte) uint64 {
		if len(part) == 0 {
			return 0
		}
		where := at + uint64(len(body))
		body = pad(append(body, part...))
		return where
	}
	le := binary.LittleEndian
	nameAt, oobAt, dataAt := place(name), place(oob), place(data)
	for offset, v := range map[int]uint64{0: nameAt, 8: uint64(len(name)), 16: at + iov, 24: 1, 32: oobAt, 40: uint64(len(oob)),
		iov: dataAt, iov + 8: uint64(len(data))} {
		le.PutUint64(body[offset:], v)
	}
	return body
}
