package netstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// TunLink is the image record of the interface that queues belong to. It is
// made again where it went with the tree. Addresses and routes are messages of
// rtnetlink (man 7 rtnetlink), as the kernel gives and takes them.
type TunLink struct {
	Up     bool     `cbor:"1,keyasint,omitempty" json:"up,omitempty"`
	MTU    []byte   `cbor:"2,keyasint,omitempty" json:"mtu,omitempty"`
	MAC    []byte   `cbor:"3,keyasint,omitempty" json:"mac,omitempty"`
	Owner  *uint32  `cbor:"4,keyasint,omitempty" json:"owner,omitempty"`
	Group  *uint32  `cbor:"5,keyasint,omitempty" json:"group,omitempty"`
	Addrs  [][]byte `cbor:"6,keyasint,omitempty" json:"addresses,omitempty"`
	Routes [][]byte `cbor:"7,keyasint,omitempty" json:"routes,omitempty"`
}

// captureLink asks for the interface of the queue, and whether packets come
// with a header: the flag of that (IFF_NO_PI) is in TUNGETIFF's answer that
// there is no filter (IFF_NOFILTER).
func (rec *Tun) captureLink(all *fdstate.Survey) (*TunLink, error) {
	name := rec.Name
	fd, err := openNetlink(all, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	index, err := interfaceIndex(fd, name)
	if err != nil {
		return nil, fdstate.Refuse(fmt.Sprintf("its interface %s is not in the network namespace of the tree", name), "")
	}
	// Of what TUNSETOFFLOAD was told this shows whether it was anything: all
	// else needs it (Linux drivers/net/tun.c:set_offload, v6.12).
	if offload, err := ethtool(fd, name, unix.ETHTOOL_GTXCSUM); err != nil || offload != 0 {
		return nil, errors.Join(err, fdstate.Refuse("it leaves checksums to the program (TUNSETOFFLOAD), and how far cannot be read back", ""))
	}
	l := &TunLink{}
	get := newRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfInfomsg))
	err = get.ask(fd, func(data []byte) error {
		if len(data) < unix.SizeofIfInfomsg || binary.LittleEndian.Uint32(data[4:]) != index {
			return nil
		}
		l.Up = binary.LittleEndian.Uint32(data[8:])&unix.IFF_UP != 0
		return eachAttribute(data[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) error { return rec.attribute(l, kind, value) })
	})
	if err != nil {
		return nil, err
	}
	get = newRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	err = get.ask(fd, func(data []byte) error {
		// What is local to the link the kernel gives by itself.
		if len(data) >= unix.SizeofIfAddrmsg && binary.LittleEndian.Uint32(data[4:]) == index && data[3] != unix.RT_SCOPE_LINK {
			l.Addrs = append(l.Addrs, bytes.Clone(data))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	get = newRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP, make([]byte, unix.SizeofRtMsg))
	err = get.ask(fd, func(data []byte) error {
		if at, err := outInterface(data); err != nil || at == 0 || binary.LittleEndian.Uint32(data[at:]) != index || data[5] == unix.RTPROT_KERNEL {
			return err // the kernel makes its own
		}
		l.Routes = append(l.Routes, bytes.Clone(data))
		return nil
	})
	return l, err
}

func (rec *Tun) attribute(l *TunLink, kind uint16, value []byte) error {
	switch kind {
	case unix.IFLA_MTU:
		l.MTU = bytes.Clone(value)
	case unix.IFLA_ADDRESS:
		l.MAC = bytes.Clone(value)
	case unix.IFLA_LINKINFO:
		return eachAttribute(value, func(kind uint16, value []byte) error { return rec.attribute(l, linkInfo|kind, value) })
	case linkInfo | unix.IFLA_INFO_DATA:
		return eachAttribute(value, func(kind uint16, value []byte) error { return rec.tunAttribute(l, kind, value) })
	}
	return nil
}

// linkInfo marks attributes that are in IFLA_LINKINFO.
const linkInfo = 1 << 15

// tunAttribute takes what only such interfaces have.
func (rec *Tun) tunAttribute(l *TunLink, kind uint16, value []byte) error {
	switch {
	case kind == unix.IFLA_TUN_OWNER && len(value) == 4:
		id := binary.LittleEndian.Uint32(value)
		l.Owner = &id
	case kind == unix.IFLA_TUN_GROUP && len(value) == 4:
		id := binary.LittleEndian.Uint32(value)
		l.Group = &id
	case kind == unix.IFLA_TUN_PI && len(value) == 1 && value[0] == 0:
		rec.Flags |= unix.IFF_NO_PI
	}
	return nil
}

// outInterface finds where in a route the index of its interface is; 0 is
// nowhere.
func outInterface(route []byte) (int, error) {
	if len(route) < unix.SizeofRtMsg {
		return 0, errNetlink
	}
	found := 0
	at := unix.SizeofRtMsg
	err := eachAttribute(route[at:], func(kind uint16, value []byte) error {
		if kind == unix.RTA_OIF && len(value) == 4 {
			found = at + unix.SizeofRtAttr
		}
		at += (unix.SizeofRtAttr + len(value) + 3) &^ 3
		return nil
	})
	return found, err
}

// check is for records out of an image.
func (l *TunLink) check() error {
	if l == nil {
		return nil
	}
	for _, b := range l.Addrs {
		if len(b) < unix.SizeofIfAddrmsg {
			return errors.New("not an address of an interface")
		}
	}
	for _, b := range l.Routes {
		if at, err := outInterface(b); err != nil || at == 0 {
			return errors.New("not a route of an interface")
		}
	}
	return nil
}

// restore sets up an interface that has just been made.
func (l *TunLink) restore(fd, nl int, rec *Tun) error {
	index, err := interfaceIndex(nl, rec.Name)
	if err != nil {
		return err
	}
	for _, o := range []struct {
		id  *uint32
		set uint
	}{{l.Owner, unix.TUNSETOWNER}, {l.Group, unix.TUNSETGROUP}} {
		if o.id == nil {
			continue
		}
		if err := unix.IoctlSetInt(fd, o.set, int(*o.id)); err != nil {
			return fmt.Errorf("set its owner: %w", err)
		}
	}
	if rec.Flags&tunPersist != 0 {
		if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
			return fmt.Errorf("have it stay: %w", err)
		}
	}
	if err := l.setLink(nl, index, rec.Flags&unix.IFF_TAP != 0); err != nil {
		return err
	}
	for _, b := range l.Addrs {
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[4:], index)
		m := newRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, b)
		if err := m.change(nl); err != nil {
			return fmt.Errorf("add an address: %w", err)
		}
	}
	for _, b := range l.Routes {
		b = bytes.Clone(b)
		at, _ := outInterface(b)
		binary.LittleEndian.PutUint32(b[at:], index)
		err := newRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_ACK, b).change(nl)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add a route: %w", err)
		}
	}
	return nil
}

// setLink sets size and address, and then lets packets through.
func (l *TunLink) setLink(nl int, index uint32, hasMAC bool) error {
	header := make([]byte, unix.SizeofIfInfomsg)
	binary.LittleEndian.PutUint32(header[4:], index)
	m := newRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK, header)
	if len(l.MTU) > 0 {
		m.attribute(unix.IFLA_MTU, l.MTU)
	}
	if hasMAC && len(l.MAC) > 0 {
		m.attribute(unix.IFLA_ADDRESS, l.MAC)
	}
	if err := m.change(nl); err != nil {
		return fmt.Errorf("set its size and address: %w", err)
	}
	if !l.Up {
		return nil
	}
	return setUp(nl, index)
}
