// Package control is a supervisor's side of the control protocol
// (docs/protocol.md): it listens, answers requests, runs events among those
// who have registered for them, and holds snapshots back. What a snapshot is,
// only its Host knows.
//
// # Connections that survive
//
// A connection from inside the tree is part of a snapshot. The bytes in the
// kernel are captured with the socket; the rest is here, and becomes a State.
// So that every byte is in exactly one of the two, nothing waits here in a
// variable that the lock does not guard: the lock is held from the recvmsg(2)
// that takes bytes out of the kernel until they are in conn.in, and from
// conn.out to the sendmsg(2) that puts them there, and neither call waits.
// While the tree is frozen nothing is sent to it.
package control
