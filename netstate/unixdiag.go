package netstate

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// unixEntry is what sock_diag tells about a unix socket (Linux
// net/unix/diag.c:sk_diag_fill, v6.12).
type unixEntry struct {
	ino      uint32
	state    uint8 // of TCP's
	name     []byte
	vfsIno   uint32
	bound    bool     // it has, or had, a file
	hasPeer  bool     // also one that is closed
	peer     uint32   // its inode, or 0 when it is closed or not accepted yet
	waiting  []uint32 // of a listener: the other ends of connections not accepted, 0 for closed ones
	backlog  uint32   // of a listener
	unread   uint32   // memory of what it has sent and nobody has read
	shutdown uint8
}

// States of sockets, and sides of a shutdown (Linux include/net/tcp_states.h,
// include/net/sock.h).
const (
	stateEstablished = 1
	stateListen      = 10

	shutRead  = 1
	shutWrite = 2
)

// Attributes, and what asks for them (Linux include/uapi/linux/unix_diag.h).
const (
	diagName, diagVFS, diagPeer, diagIcons, diagRQLen, diagShutdown = 0, 1, 2, 3, 4, 6

	showAll = 1 | 2 | 4 | 8 | 16
)

// diagRequest is a netlink message with struct unix_diag_req. With inode 0 it
// asks for all sockets of the network namespace.
func diagRequest(ino uint32) nlRequest {
	flags := uint16(unix.NLM_F_ACK)
	if ino == 0 {
		flags = unix.NLM_F_DUMP
	}
	const sockDiagByFamily = 20
	b := []byte{unix.AF_UNIX, 0, 0, 0}
	for _, v := range []uint32{1<<32 - 1 /* states */, ino, showAll, 1<<32 - 1, 1<<32 - 1 /* any cookie */} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return newRequest(sockDiagByFamily, flags, b)
}

// askDiag sends a request and calls each for every socket in the answer.
func askDiag(fd int, ino uint32, each func(unixEntry)) error {
	err := diagRequest(ino).ask(fd, func(data []byte) error {
		e, err := parseDiag(data)
		if err == nil {
			each(e)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sock_diag: %w", err)
	}
	return nil
}

// parseDiag reads struct unix_diag_msg and its attributes.
func parseDiag(b []byte) (unixEntry, error) {
	const head = 16
	if len(b) < head {
		return unixEntry{}, errNetlink
	}
	le := binary.LittleEndian
	e := unixEntry{state: b[2], ino: le.Uint32(b[4:])}
	err := eachAttribute(b[head:], e.attribute)
	return e, err
}

// attribute takes one attribute.
func (e *unixEntry) attribute(kind uint16, v []byte) error {
	le := binary.LittleEndian
	least := map[uint16]int{diagVFS: 8, diagPeer: 4, diagRQLen: 8, diagShutdown: 1}
	if len(v) < least[kind] {
		return errNetlink
	}
	switch kind {
	case diagName:
		e.name = bytes.Clone(v)
	case diagVFS:
		e.vfsIno, e.bound = le.Uint32(v), true
	case diagPeer:
		e.peer, e.hasPeer = le.Uint32(v), true
	case diagIcons:
		for ; len(v) >= 4; v = v[4:] {
			e.waiting = append(e.waiting, le.Uint32(v))
		}
	case diagRQLen:
		e.backlog, e.unread = le.Uint32(v[4:]), le.Uint32(v[4:])
	case diagShutdown:
		e.shutdown = v[0]
	}
	return nil
}

// trimPath takes the zero byte off that ends a path. Names that begin with
// one are abstract, and binary.
func trimPath(name []byte) []byte {
	if len(name) > 0 && name[0] != 0 {
		return bytes.TrimRight(name, "\x00")
	}
	return name
}

// unixTable is all unix sockets of the network namespace, by inode.
type unixTable map[uint32]unixEntry

// readUnixTable asks once about all. Sockets that come and go while the answer
// is put together may make it leave out others: find asks about these again.
func readUnixTable(fd int) (unixTable, error) {
	t := unixTable{}
	err := askDiag(fd, 0, func(e unixEntry) { t[e.ino] = e })
	return t, err
}

// find tells about one socket, which must exist.
func (t unixTable) find(fd int, ino uint32) (unixEntry, error) {
	if e, ok := t[ino]; ok {
		return e, nil
	}
	err := askDiag(fd, ino, func(e unixEntry) { t[e.ino] = e })
	return t[ino], err
}
