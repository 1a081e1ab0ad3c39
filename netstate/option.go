package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Option is the image record of a socket option that is not as a new socket
// has it.
type Option struct {
	Name  int    `cbor:"1,keyasint" json:"name"`
	Value []byte `cbor:"2,keyasint" json:"value"`
	Level int    `cbor:"3,keyasint" json:"level"` // SOL_SOCKET, IPPROTO_IP...
}

// optionRow is an option that is set as it is read.
type optionRow struct {
	level, name int
	size        int  // of the value; the most that it may have, if it varies
	when        when // it is set
}

// when tells when an option is set in the making of a socket.
type when int

const (
	atEnd   when = iota // when the socket has its queue: others would change what comes into that
	atFirst             // before bind(2), which it may change
)

// optionTables are all of them, for options out of an image.
var optionTables = [][]optionRow{socketOptions, ipOptions, ip6Options, rawOptions, udpOptions, tcpOptions, tcpFreeOptions, netlinkOptions, packetOptions}

// socketOptions are the options of SOL_SOCKET that any socket can have. Buffer
// sizes are not among them: see buffers.
var socketOptions = []optionRow{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR, 4, atFirst},
	{unix.SOL_SOCKET, unix.SO_DONTROUTE, 4, atFirst},
	{unix.SOL_SOCKET, unix.SO_REUSEPORT, 4, atFirst},
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE, unix.IFNAMSIZ, atFirst},
	{unix.SOL_SOCKET, unix.SO_BROADCAST, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_NO_CHECK, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_PRIORITY, 4, atFirst},
	{unix.SOL_SOCKET, unix.SO_MARK, 4, atFirst},
	{unix.SOL_SOCKET, unix.SO_LINGER, 8, atEnd},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_RCVTIMEO, 16, atEnd},
	{unix.SOL_SOCKET, unix.SO_SNDTIMEO, 16, atEnd},
	{unix.SOL_SOCKET, unix.SO_PASSCRED, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_PASSSEC, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_PASSPIDFD, 4, atEnd},
	{unix.SOL_SOCKET, soPassRights, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMP, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPING, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_WIFI_STATUS, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_NOFCS, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_SELECT_ERR_QUEUE, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_PEEK_OFF, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_ZEROCOPY, 4, atEnd},
}

// soPassRights is SO_PASSRIGHTS (Linux 6.16).
const soPassRights = 83

// readOptions gives the options of a socket in which it differs from a new one
// of its kind. Options that this kernel, or this kind of socket, does not have
// are not set either.
func readOptions(fd int, fresh *usual, tables ...[]optionRow) ([]Option, error) {
	var list []Option
	for _, row := range slices.Concat(tables...) {
		value, err := row.get(fd)
		if err != nil {
			return nil, err
		}
		usual, err := fresh.get(row)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(value, usual) {
			list = append(list, Option{Level: row.level, Name: row.name, Value: value})
		}
	}
	return list, nil
}

// get is nil for an option that there is not.
func (row *optionRow) get(fd int) ([]byte, error) {
	value := make([]byte, row.size)
	n, err := getsockopt(fd, row.level, row.name, value)
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getsockopt %d of level %d: %w", row.name, row.level, err)
	}
	return value[:n], nil
}

// setOptions puts those options into place whose time it is.
func setOptions(fd int, list []Option, now when) error {
	for i := range list {
		if row := list[i].row(); row == nil || row.when != now {
			continue
		}
		if err := list[i].set(fd); err != nil {
			return err
		}
	}
	return nil
}

// set puts the option into place.
func (o *Option) set(fd int) error {
	err := unix.SetsockoptString(fd, o.Level, o.Name, string(o.Value))
	switch {
	case errors.Is(err, unix.EPERM):
		return &HostError{Why: fmt.Sprintf("only an administrator may set option %d of level %d of a socket", o.Name, o.Level), Hint: "restart it as root", Err: err}
	case errors.Is(err, unix.ENODEV):
		return &HostError{Why: fmt.Sprintf("there is no network interface %q here", unix.ByteSliceToString(o.Value)), Err: err}
	case err != nil:
		return fmt.Errorf("set socket option %d of level %d: %w", o.Name, o.Level, err)
	}
	return nil
}

// row finds the option in the tables.
func (o *Option) row() *optionRow {
	for _, table := range optionTables {
		for i := range table {
			if table[i].level == o.Level && table[i].name == o.Name {
				return &table[i]
			}
		}
	}
	return nil
}

// checkOptions is for records out of an image.
func checkOptions(list []Option) error {
	for i := range list {
		o := &list[i]
		if row := o.row(); row == nil || len(o.Value) > row.size {
			return fmt.Errorf("no socket option %d of level %d, %d bytes", o.Name, o.Level, len(o.Value))
		}
	}
	return nil
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
func readBuffers(fd int, fresh *usual) (b Buffers, err error) {
	for _, o := range []struct {
		name int
		to   *int
	}{{unix.SO_SNDBUF, &b.Send}, {unix.SO_RCVBUF, &b.Receive}, {soBufLock, &b.Locks}} {
		row := optionRow{level: unix.SOL_SOCKET, name: o.name, size: 4}
		value, err := row.get(fd)
		if err != nil {
			return b, err
		}
		usual, err := fresh.get(row)
		if err != nil {
			return b, err
		}
		if o.name == soBufLock || !slices.Equal(value, usual) {
			*o.to = int(binary.LittleEndian.Uint32(value))
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
