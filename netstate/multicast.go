package netstate

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Membership is the image record of a multicast group that a socket is in.
type Membership struct {
	Interface string   `cbor:"1,keyasint" json:"interface"`
	Group     []byte   `cbor:"2,keyasint" json:"group"` // 4 or 16 bytes
	Only      bool     `cbor:"3,keyasint,omitempty" json:"only,omitempty"`
	Sources   [][]byte `cbor:"4,keyasint,omitempty" json:"sources,omitempty"` // the only ones, or those that are left out
}

// group is a group that some socket of the host is in, on an interface.
type group struct {
	index uint32
	name  string
	addr  netip.Addr
}

// readGroups lists the groups of a process's network namespace. Which socket
// is in which only the socket tells.
func readGroups(pid task.PID) ([]group, error) {
	list, err := eachLine(fmt.Sprintf("/proc/%d/net/igmp", pid), parseIGMP)
	if err != nil {
		return nil, err
	}
	list6, err := eachLine(fmt.Sprintf("/proc/%d/net/igmp6", pid), parseIGMP6)
	return append(list, list6...), err
}

func eachLine(path string, parse func(lines *bufio.Scanner) ([]group, error)) ([]group, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := parse(bufio.NewScanner(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// parseIGMP reads a line for each interface, and indented ones for its groups,
// which are printed in the order of the host (Linux
// net/ipv4/igmp.c:igmp_mc_seq_show, v6.12).
func parseIGMP(lines *bufio.Scanner) (list []group, err error) {
	var on group
	for lines.Scan(); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 0:
			return nil, errors.New("an empty line")
		case !strings.HasPrefix(lines.Text(), "\t"):
			n, err := strconv.ParseUint(f[0], 10, 32)
			if err != nil || len(f) < 2 {
				return nil, fmt.Errorf("line %q", lines.Text())
			}
			on.index, on.name = uint32(n), strings.TrimSuffix(f[1], ":")
		default:
			n, err := strconv.ParseUint(f[0], 16, 32)
			if err != nil {
				return nil, err
			}
			on.addr = netip.AddrFrom4([4]byte(binary.LittleEndian.AppendUint32(nil, uint32(n))))
			list = append(list, on)
		}
	}
	return list, lines.Err()
}

// parseIGMP6 reads "4 eth0 ff020000000000000000000000000001 1 0000000C 0".
func parseIGMP6(lines *bufio.Scanner) (list []group, err error) {
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 3 {
			return nil, fmt.Errorf("line %q", lines.Text())
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return nil, err
		}
		b, err := hex.DecodeString(f[2])
		if err != nil || len(b) != 16 {
			return nil, fmt.Errorf("address %q", f[2])
		}
		list = append(list, group{index: uint32(n), name: f[1], addr: netip.AddrFrom16([16]byte(b))})
	}
	return list, lines.Err()
}

// Where struct group_filter and struct group_source_req have what (Linux
// include/uapi/linux/in.h). Both begin with the index of the interface.
const (
	groupAt      = 8
	filterModeAt = groupAt + sockaddrStorage
	filterListAt = filterModeAt + 8
	sourceAt     = groupAt + sockaddrStorage
)

// level is the level of the options of a group.
func level(addr netip.Addr) int {
	if addr.Is4() {
		return unix.IPPROTO_IP
	}
	return unix.IPPROTO_IPV6
}

// groupRequest begins a request about a group.
func groupRequest(index uint32, addr netip.Addr, size int) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b, index)
	putAddr(b[groupAt:], addr)
	return b
}

func putAddr(b []byte, addr netip.Addr) {
	domain := unix.AF_INET6
	if addr.Is4() {
		domain = unix.AF_INET
	}
	copy(b, inetAddr(domain, netip.AddrPortFrom(addr, 0)))
}

// readMemberships asks a socket about every group.
func readMemberships(fd int, groups []group) ([]Membership, error) {
	var list []Membership
	for _, g := range groups {
		m, err := readMembership(fd, g, 0)
		switch {
		case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
			continue // it is not in that group, or is of another family
		case err != nil:
			return nil, fmt.Errorf("getsockopt MCAST_MSFILTER: %w", err)
		}
		list = append(list, m)
	}
	return list, nil
}

// readMembership asks about one, with room for sources.
func readMembership(fd int, g group, room int) (Membership, error) {
	b := groupRequest(g.index, g.addr, filterListAt+room*sockaddrStorage)
	le := binary.LittleEndian
	le.PutUint32(b[filterModeAt+4:], uint32(room))
	if _, err := getsockopt(fd, level(g.addr), unix.MCAST_MSFILTER, b); err != nil {
		return Membership{}, err
	}
	m := Membership{Interface: g.name, Group: g.addr.AsSlice(), Only: le.Uint32(b[filterModeAt:]) == unix.MCAST_INCLUDE}
	n := int(le.Uint32(b[filterModeAt+4:]))
	if n > room {
		return readMembership(fd, g, n)
	}
	for i := range n {
		from, ok := Addr(b[filterListAt+i*sockaddrStorage:]).inet()
		if !ok {
			return m, errors.New("a source of a multicast group has no address")
		}
		m.Sources = append(m.Sources, from.Addr().AsSlice())
	}
	return m, nil
}

// join has a socket join the group again.
func (m *Membership) join(fd int) error {
	index, err := interfaceIndex(fd, m.Interface)
	if err != nil {
		return err
	}
	addr := m.addr()
	for _, source := range m.Sources {
		if !m.Only {
			break
		}
		from, _ := netip.AddrFromSlice(source)
		b := groupRequest(index, addr, sourceAt+sockaddrStorage)
		putAddr(b[sourceAt:], from)
		if err := m.set(fd, unix.MCAST_JOIN_SOURCE_GROUP, b); err != nil {
			return err
		}
	}
	if m.Only {
		return nil
	}
	if err := m.set(fd, unix.MCAST_JOIN_GROUP, groupRequest(index, addr, groupAt+sockaddrStorage)); err != nil || len(m.Sources) == 0 {
		return err
	}
	b := groupRequest(index, addr, filterListAt+len(m.Sources)*sockaddrStorage)
	binary.LittleEndian.PutUint32(b[filterModeAt:], unix.MCAST_EXCLUDE)
	binary.LittleEndian.PutUint32(b[filterModeAt+4:], uint32(len(m.Sources)))
	for i, source := range m.Sources {
		from, _ := netip.AddrFromSlice(source)
		putAddr(b[filterListAt+i*sockaddrStorage:], from)
	}
	return m.set(fd, unix.MCAST_MSFILTER, b)
}

func (m *Membership) set(fd, name int, value []byte) error {
	if err := unix.SetsockoptString(fd, level(m.addr()), name, string(value)); err != nil {
		return &HostError{Why: fmt.Sprintf("cannot join the multicast group %s on %s", m.addr(), m.Interface), Err: err}
	}
	return nil
}

func (m *Membership) addr() netip.Addr {
	addr, _ := netip.AddrFromSlice(m.Group)
	return addr
}

// check is for records out of an image.
func (m *Membership) check() error {
	for _, b := range append([][]byte{m.Group}, m.Sources...) {
		if len(b) != len(m.Group) || len(b) != 4 && len(b) != 16 {
			return errors.New("not an address of a multicast group")
		}
	}
	if len(m.Interface) == 0 || len(m.Interface) >= unix.IFNAMSIZ {
		return errors.New("not the name of an interface")
	}
	return nil
}
