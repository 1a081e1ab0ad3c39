package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// Filter is the image record of a packet filter (SO_ATTACH_FILTER): classic
// BPF, as it was given.
type Filter struct {
	Code   []byte `cbor:"1,keyasint" json:"code"` // struct sock_filter, one after the other
	Locked bool   `cbor:"2,keyasint,omitempty" json:"locked,omitempty"`
}

const (
	instruction     = 8    // sizeof(struct sock_filter)
	maxInstructions = 4096 // BPF_MAXINSNS
)

// readFilter gives the filter, or nil. An eBPF program cannot be read back:
// the kernel keeps only what classic ones were made of (Linux
// net/core/filter.c:sk_get_filter, v6.12).
func readFilter(fd int) (*Filter, error) {
	n, err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_GET_FILTER, nil)
	switch {
	case errors.Is(err, unix.EACCES):
		return nil, fdstate.Refuse("it has an eBPF program as its packet filter (SO_ATTACH_BPF), which cannot be read back", "")
	case err != nil:
		return nil, fmt.Errorf("getsockopt SO_GET_FILTER: %w", err)
	case n == 0:
		return nil, nil
	}
	rec := &Filter{Code: make([]byte, n*instruction)}
	if _, err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_GET_FILTER, rec.Code); err != nil {
		return nil, fmt.Errorf("getsockopt SO_GET_FILTER: %w", err)
	}
	locked, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER)
	rec.Locked = locked != 0
	return rec, err
}

// set attaches the filter. Nothing that goes into the queue later may be cut
// by it a second time.
func (rec *Filter) set(fd int) error {
	if rec == nil {
		return nil
	}
	code := make([]unix.SockFilter, len(rec.Code)/instruction)
	for i := range code {
		b := rec.Code[i*instruction:]
		code[i] = unix.SockFilter{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])}
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach a packet filter: %w", err)
	}
	if !rec.Locked {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1)
}

// check is for records out of an image.
func (rec *Filter) check() error {
	if rec == nil {
		return nil
	}
	if n := len(rec.Code); n == 0 || n%instruction != 0 || n/instruction > maxInstructions {
		return errors.New("not a packet filter")
	}
	return nil
}
