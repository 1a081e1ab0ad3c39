package netstate

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// optionSockets are the kinds of sockets that the tables of options are for.
var optionSockets = []struct {
	name                  string
	domain, typ, protocol int
}{
	{"udp", unix.AF_INET, unix.SOCK_DGRAM, 0},
	{"udp6", unix.AF_INET6, unix.SOCK_DGRAM, 0},
	{"udplite", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE},
	{"tcp", unix.AF_INET, unix.SOCK_STREAM, 0},
	{"tcp6", unix.AF_INET6, unix.SOCK_STREAM, 0},
	{"raw", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
	{"raw6", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
	{"netlink", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE},
	{"packet", unix.AF_PACKET, unix.SOCK_RAW, 0},
}

// TestOptions sets every option of the tables to another value that the kernel
// takes, and has it read and set again on a new socket.
func TestOptions(t *testing.T) {
	for _, s := range optionSockets {
		t.Run(s.name, func(t *testing.T) {
			open := func() int {
				fd, err := unix.Socket(s.domain, s.typ, s.protocol)
				if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EPROTONOSUPPORT) {
					t.Skip("this user cannot open such a socket: ", err)
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { unix.Close(fd) })
				return fd
			}
			changed := 0
			for _, row := range slices.Concat(optionTables...) {
				fd, fresh := open(), open()
				usual := usuals{}.of(nil, s.domain, s.typ, s.protocol)
				if !row.change(fd) {
					continue
				}
				changed++
				list, err := readOptions(fd, usual, []optionRow{row})
				if err != nil || len(list) != 1 || checkOptions(list) != nil {
					t.Fatalf("option %d of level %d: read %v: %v", row.name, row.level, list, err)
				}
				if err := setOptions(fresh, list, row.when); err != nil {
					t.Error(err)
				}
				if got, want := must(row.get(fresh)), must(row.get(fd)); !slices.Equal(got, want) {
					t.Errorf("option %d of level %d is %v, want %v", row.name, row.level, got, want)
				}
			}
			if changed < 20 {
				t.Errorf("only %d options could be changed", changed)
			}
		})
	}
}

// change tries values until the option reads otherwise than before.
func (row *optionRow) change(fd int) bool {
	before, err := row.get(fd)
	if err != nil {
		return false
	}
	for _, v := range []uint32{1, 0, 2, 3, 8, 64, 1 << 16, 0x100007f, 40000 | 40001<<16} {
		value := binary.LittleEndian.AppendUint32(nil, v)
		if row.size >= 32 {
			value = slices.Repeat(value, row.size/4)
		}
		if row.size > 4 && row.size < 32 {
			value = append(value, make([]byte, row.size-4)...)
		}
		if row.name == unix.SO_BINDTODEVICE && row.level == unix.SOL_SOCKET {
			value = []byte("lo\x00")
		}
		if unix.SetsockoptString(fd, row.level, row.name, string(value)) != nil {
			continue
		}
		if after, err := row.get(fd); err == nil && !slices.Equal(after, before) {
			return true
		}
	}
	return false
}
