package netstate

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Option is the image record of a socket option of SOL_SOCKET that is not as
// a new socket has it.
type Option struct {
	Name  int    `cbor:"1,keyasint" json:"name"`
	Value []byte `cbor:"2,keyasint" json:"value"`
}

// socketOptions are the options of SOL_SOCKET that any socket can have and
// that are set as they are read. Buffer sizes are not among them: see buffers.
var socketOptions = []struct {
	name int
	size int // of the value
}{
	{unix.SO_REUSEADDR, 4},
	{unix.SO_DONTROUTE, 4},
	{unix.SO_BROADCAST, 4},
	{unix.SO_KEEPALIVE, 4},
	{unix.SO_OOBINLINE, 4},
	{unix.SO_NO_CHECK, 4},
	{unix.SO_PRIORITY, 4},
	{unix.SO_MARK, 4},
	{unix.SO_LINGER, 8},
	{unix.SO_RCVLOWAT, 4},
	{unix.SO_RCVTIMEO, 16},
	{unix.SO_SNDTIMEO, 16},
	{unix.SO_PASSCRED, 4},
	{unix.SO_PASSSEC, 4},
	{unix.SO_PASSPIDFD, 4},
	{soPassRights, 4},
	{unix.SO_TIMESTAMP, 4},
	{unix.SO_TIMESTAMPNS, 4},
	{unix.SO_TIMESTAMPING, 4},
	{unix.SO_RXQ_OVFL, 4},
	{unix.SO_WIFI_STATUS, 4},
	{unix.SO_NOFCS, 4},
	{unix.SO_SELECT_ERR_QUEUE, 4},
	{unix.SO_BUSY_POLL, 4},
	{unix.SO_PEEK_OFF, 4},
}

// soPassRights is SO_PASSRIGHTS (Linux 6.16).
const soPassRights = 83

// readOptions gives the options of a socket in which it differs from a new one
// of its kind. Options that this kernel, or this kind of socket, does not have
// are not set either.
func readOptions(fd, fresh int) ([]Option, error) {
	var list []Option
	for _, o := range socketOptions {
		value, err := getOption(fd, o.name, o.size)
		if err != nil {
			return nil, err
		}
		usual, err := getOption(fresh, o.name, o.size)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(value, usual) {
			list = append(list, Option{Name: o.name, Value: value})
		}
	}
	return list, nil
}

// getOption is nil for an option that there is not.
func getOption(fd, name, size int) ([]byte, error) {
	value := make([]byte, size)
	n, err := getsockopt(fd, unix.SOL_SOCKET, name, value)
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getsockopt %d: %w", name, err)
	}
	return value[:n], nil
}

// set puts the option into place.
func (o *Option) set(fd int) error {
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, o.Name, string(o.Value)); err != nil {
		return fmt.Errorf("set socket option %d: %w", o.Name, err)
	}
	return nil
}

// check is for records out of an image.
func (o *Option) check() error {
	for _, known := range socketOptions {
		if known.name == o.Name && known.size == len(o.Value) {
			return nil
		}
	}
	return fmt.Errorf("no socket option %d of %d bytes", o.Name, len(o.Value))
}

// Buffers is the image record of a socket's limits. Zero is as a new socket
// has it.
type Buffers struct {
	Send    int `cbor:"1,keyasint,omitempty" json:"send,omitempty"` // as getsockopt(2) gives it
	Receive int `cbor:"2,keyasint,omitempty" json:"receive,omitempty"`
	Locks   int `cbor:"3,keyasint,omitempty" json:"locks,omitempty"` // SOCK_SNDBUF_LOCK, SOCK_RCVBUF_LOCK
}

// soBufLock is SO_BUF_LOCK (Linux 5.14).
const soBufLock = 72

// readBuffers reads the limits.
func readBuffers(fd, fresh int) (b Buffers, err error) {
	for _, o := range []struct {
		name int
		to   *int
	}{{unix.SO_SNDBUF, &b.Send}, {unix.SO_RCVBUF, &b.Receive}, {soBufLock, &b.Locks}} {
		if *o.to, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.name); err != nil {
			return b, fmt.Errorf("getsockopt %d: %w", o.name, err)
		}
		usual, err := unix.GetsockoptInt(fresh, unix.SOL_SOCKET, o.name)
		if err != nil {
			return b, fmt.Errorf("getsockopt %d: %w", o.name, err)
		}
		if *o.to == usual && o.name != soBufLock {
			*o.to = 0
		}
	}
	return b, nil
}

// set puts the limits into place. The kernel doubles what it is given (man 7
// socket), and lets only an administrator go over a system-wide limit.
func (b *Buffers) set(fd int) error {
	for _, o := range []struct{ value, name, force int }{
		{b.Send, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE}, {b.Receive, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE},
	} {
		if o.value == 0 {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.force, o.value/2); err != nil {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.name, o.value/2); err != nil {
				return fmt.Errorf("set size of a socket's buffer: %w", err)
			}
		}
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.name); err != nil || got != o.value {
			return &HostError{Why: fmt.Sprintf("a socket's buffer of %d bytes cannot be had, only %d", o.value, got),
				Hint: "raise net.core.wmem_max and net.core.rmem_max, or restart as root", Err: err}
		}
	}
	if b.Locks == 0 && b.Send == 0 && b.Receive == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, soBufLock, b.Locks); err != nil {
		return fmt.Errorf("lock size of a socket's buffer: %w", err)
	}
	return nil
}

// HostError says that a socket cannot be had again on this host, or by this
// user.
type HostError struct {
	Why, Hint string
	Err       error // may be nil
}

func (e *HostError) Error() string {
	if e.Err != nil {
		return e.Why + ": " + e.Err.Error()
	}
	return e.Why
}

func (e *HostError) Unwrap() error { return e.Err }
