package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Namespace is the image record of the network namespace that a tree lives in:
// as much of it as a restart makes again in a namespace of the tree's own.
type Namespace struct {
	Private bool   `cbor:"1,keyasint,omitempty" json:"private,omitempty"` // not the one that the snapshot was taken from
	Links   []Link `cbor:"2,keyasint,omitempty" json:"links,omitempty"`
}

// Link is an interface with addresses that the tree may use.
type Link struct {
	Name  string   `cbor:"1,keyasint" json:"name"`
	Addrs []string `cbor:"2,keyasint" json:"addresses"` // with the length of the network's part
}

// Check is for records out of an image.
func (n *Namespace) Check() error {
	if n == nil {
		return nil
	}
	for _, l := range n.Links {
		if l.Name == "" || len(l.Name) >= unix.IFNAMSIZ || len(l.Addrs) == 0 {
			return errors.New("not a network interface")
		}
		for _, a := range l.Addrs {
			if _, err := netip.ParsePrefix(a); err != nil {
				return fmt.Errorf("address of %s: %w", l.Name, err)
			}
		}
	}
	return nil
}

// IsPrivate tells whether a tree lived in a namespace of its own.
func (n *Namespace) IsPrivate() bool { return n != nil && n.Private }

// CaptureNamespace records the namespace of a process, and in it the addresses
// that used names. All that others could use is recorded of one that is the
// tree's own.
func CaptureNamespace(p *task.Process, used func(netip.Addr) bool) (*Namespace, error) {
	ours, err := InOurs(p.PID)
	if err != nil {
		return nil, err
	}
	fd, err := netlinkOf(p.PID, unix.NETLINK_ROUTE, held(p))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	links, err := readLinks(fd, func(a netip.Addr) bool { return used(a) || !ours && !a.IsLinkLocalUnicast() })
	if err != nil || ours && len(links) == 0 {
		return nil, err
	}
	return &Namespace{Private: !ours, Links: links}, nil
}

// readLinks gives the interfaces that have addresses to be recorded. What every
// loopback has is not.
func readLinks(fd int, record func(netip.Addr) bool) ([]Link, error) {
	names, err := readNames(fd)
	if err != nil {
		return nil, err
	}
	addrs := map[uint32][]string{}
	get := newRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	err = get.ask(fd, func(data []byte) error {
		index, prefix, err := parseAddr(data)
		if err == nil && prefix.IsValid() && record(prefix.Addr()) && !everywhere(prefix.Addr()) {
			addrs[index] = append(addrs[index], prefix.String())
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("addresses of the network namespace: %w", err)
	}
	var links []Link
	for index, list := range addrs {
		links = append(links, Link{Name: names[index], Addrs: list})
	}
	slices.SortFunc(links, func(a, b Link) int { return slices.Compare(a.Addrs, b.Addrs) })
	return links, nil
}

// everywhere tells whether each network namespace has an address by itself.
func everywhere(a netip.Addr) bool {
	return a == netip.IPv6Loopback() || a == netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// readNames gives the names of all interfaces.
func readNames(fd int) (map[uint32]string, error) {
	names := map[uint32]string{}
	get := newRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfInfomsg))
	err := get.ask(fd, func(data []byte) error {
		if len(data) < unix.SizeofIfInfomsg {
			return errNetlink
		}
		index := binary.LittleEndian.Uint32(data[4:])
		return eachAttribute(data[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) error {
			if kind == unix.IFLA_IFNAME {
				names[index] = unix.ByteSliceToString(value)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("interfaces of the network namespace: %w", err)
	}
	return names, nil
}

// parseAddr reads struct ifaddrmsg and its attributes. An interface with an
// other end has its own address in IFA_LOCAL (Linux
// include/uapi/linux/if_addr.h).
func parseAddr(data []byte) (index uint32, prefix netip.Prefix, err error) {
	if len(data) < unix.SizeofIfAddrmsg {
		return 0, prefix, errNetlink
	}
	var addr, local netip.Addr
	err = eachAttribute(data[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) error {
		switch kind {
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(value)
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		}
		return nil
	})
	if local.IsValid() {
		addr = local
	}
	return binary.LittleEndian.Uint32(data[4:]), netip.PrefixFrom(addr, int(data[1])), err
}

// Restore gives a process a network namespace of its own, from which nothing
// leads outside: a connect to there fails at once.
func (n *Namespace) Restore(p *task.Process) error {
	if _, err := p.Call(unix.SYS_UNSHARE, unix.CLONE_NEWNET); err != nil {
		return &HostError{Why: "cannot make a network namespace", Err: err, Hint: "see `supervise check`"}
	}
	fd, err := borrowNetlink(p, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := setUp(fd, loopbackIndex); err != nil {
		return &HostError{Why: "cannot bring up a network interface", Err: err, Hint: "see `supervise check`"}
	}
	if err := letPing(p); err != nil {
		return err
	}
	if n == nil {
		return nil
	}
	for i := range n.Links {
		if err := n.Links[i].restore(fd); err != nil {
			return &HostError{Why: "cannot give the tree the network interface " + n.Links[i].Name, Err: err, Hint: "see `supervise check`"}
		}
	}
	return nil
}

// letPing lets the tree make ping sockets, as most hosts do; in a new namespace
// nobody may (man 7 icmp, ping_group_range). A user namespace has but one group
// that can be named. Where /proc/sys cannot be written, all stays as it is.
func letPing(p *task.Process) error {
	st, err := procfs.ReadStatus(int(p.PID))
	if err != nil {
		return err
	}
	fd, err := p.Call(unix.SYS_OPEN, "/proc/sys/net/ipv4/ping_group_range", unix.O_WRONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil
	}
	var b task.Batch
	for _, groups := range []string{fmt.Sprintf("%d %[1]d", st.GIDs[1]), "0 2147483647"} { // the second fails where there are no others
		b.Add(unix.SYS_PWRITE64, fd, []byte(groups), len(groups), 0).Optional()
	}
	b.Add(unix.SYS_CLOSE, fd)
	return p.Run(&b)
}

// loopbackIndex is the index of every namespace's loopback (Linux
// include/net/flow.h:LOOPBACK_IFINDEX).
const loopbackIndex = 1

// restore makes the interface, and gives it its addresses.
func (l *Link) restore(fd int) error {
	index, err := l.make(fd)
	if err != nil {
		return err
	}
	for _, a := range l.Addrs {
		prefix, err := netip.ParsePrefix(a)
		if err != nil {
			return err
		}
		if err := addAddr(fd, index, prefix); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add the address %s: %w", a, err)
		}
	}
	return setUp(fd, index)
}

// make gives an interface with the name; the loopback, if this kernel has no
// kind of interface that leads nowhere.
func (l *Link) make(fd int) (uint32, error) {
	if l.Name == "lo" {
		return loopbackIndex, nil
	}
	for _, kind := range []string{"dummy", "veth"} {
		err := addLink(fd, l.Name, kind)
		if errors.Is(err, unix.EOPNOTSUPP) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("make it: %w", err)
		}
		names, err := readNames(fd)
		for index, name := range names {
			if name == l.Name {
				return index, nil
			}
		}
		return 0, errors.Join(errNetlink, err)
	}
	return loopbackIndex, nil
}

// change sends a message that is answered by yes or no.
func (m nlRequest) change(fd int) error {
	return m.ask(fd, func([]byte) error { return errNetlink })
}

func addLink(fd int, name, kind string) error {
	m := newRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, make([]byte, unix.SizeofIfInfomsg))
	m.attribute(unix.IFLA_IFNAME, append([]byte(name), 0))
	var info nlRequest
	info.attribute(unix.IFLA_INFO_KIND, []byte(kind))
	m.attribute(unix.IFLA_LINKINFO, info)
	return m.change(fd)
}

func setUp(fd int, index uint32) error {
	header := make([]byte, unix.SizeofIfInfomsg)
	for _, at := range []int{8, 12} { // ifi_flags, ifi_change
		binary.LittleEndian.PutUint32(header[at:], unix.IFF_UP)
	}
	binary.LittleEndian.PutUint32(header[4:], index)
	return newRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK, header).change(fd)
}

// addAddr adds an address without the route to its network, behind which
// nobody is: who connects there would wait for an answer. IPv6 must not look
// for others that have it, which takes a second.
func addAddr(fd int, index uint32, p netip.Prefix) error {
	header := make([]byte, unix.SizeofIfAddrmsg)
	header[0], header[1] = unix.AF_INET, byte(p.Bits())
	flags := uint32(unix.IFA_F_NOPREFIXROUTE)
	if p.Addr().Is6() {
		header[0] = unix.AF_INET6
		flags |= unix.IFA_F_NODAD
	}
	binary.LittleEndian.PutUint32(header[4:], index)
	m := newRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, header)
	m.attribute(unix.IFA_LOCAL, p.Addr().AsSlice())
	m.attribute(unix.IFA_ADDRESS, p.Addr().AsSlice())
	m.attribute(unix.IFA_FLAGS, binary.LittleEndian.AppendUint32(nil, flags))
	return m.change(fd)
}

// addressed is a socket that is bound to addresses of this host.
type addressed interface{ LocalAddrs() []netip.Addr }

// Addresses tells which addresses sockets are bound to.
func Addresses(records []fdstate.Record) (used func(netip.Addr) bool) {
	all := map[netip.Addr]bool{}
	for _, rec := range records {
		if rec, ok := rec.(addressed); ok {
			for _, a := range rec.LocalAddrs() {
				all[a.Unmap().WithZone("")] = true
			}
		}
	}
	return func(a netip.Addr) bool { return all[a] }
}
