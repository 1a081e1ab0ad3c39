package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// PacketSocket is the image record of a packet socket (man 7 packet).
type PacketSocket struct {
	Type      int          `cbor:"1,keyasint" json:"type"`
	Protocol  uint16       `cbor:"2,keyasint,omitempty" json:"protocol,omitempty"` // that it receives; none if it is 0
	Interface string       `cbor:"3,keyasint,omitempty" json:"interface,omitempty"`
	Members   []PacketMode `cbor:"4,keyasint,omitempty" json:"members,omitempty"`
	Fanout    uint32       `cbor:"5,keyasint,omitempty" json:"fanout,omitempty"` // as getsockopt(2) gives it
	Settings  Settings     `cbor:"6,keyasint" json:"settings"`
}

// PacketMode is what a packet socket has an interface receive.
type PacketMode struct {
	Interface string `cbor:"1,keyasint" json:"interface"`
	Type      uint16 `cbor:"2,keyasint" json:"type"` // PACKET_MR_MULTICAST...
	Addr      []byte `cbor:"3,keyasint,omitempty" json:"address,omitempty"`
	Count     uint32 `cbor:"4,keyasint" json:"count"` // how often it has asked
}

// Options of SOL_PACKET that golang.org/x/sys/unix does not have, and types of
// fanout with a program that cannot be read back (Linux
// include/uapi/linux/if_packet.h).
const (
	packetIgnoreOutgoing, packetVnetHdrSize = 23, 24
	fanoutCBPF, fanoutEBPF                  = 6, 7
)

// packetOptions are those of SOL_PACKET.
var packetOptions = []optionRow{
	{unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_AUXDATA, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_ORIGDEV, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_VERSION, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_RESERVE, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_LOSS, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 4, atFirst},
	{unix.SOL_PACKET, packetVnetHdrSize, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_TIMESTAMP, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_TX_HAS_OFF, 4, atFirst},
	{unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 4, atFirst},
	{unix.SOL_PACKET, packetIgnoreOutgoing, 4, atFirst},
}

// capturePacket makes the record.
func (u usuals) capturePacket(d *fdstate.Desc, all *fdstate.Survey) (fdstate.Record, error) {
	fd, err := d.Copy()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	rec := &PacketSocket{Type: d.Socket.Type}
	ready, err := fdstate.Poll(fd, unix.POLLIN)
	switch {
	case err != nil:
		return nil, err
	case ready&(unix.POLLIN|unix.POLLERR) != 0:
		return nil, fdstate.RefuseNow("packets, or an error, wait to be read from it")
	}
	if err := rec.diagnose(all, uint32(d.Stat.Ino)); err != nil {
		return nil, err
	}
	name, err := addrOf(unix.SYS_GETSOCKNAME, fd)
	if err != nil || len(name) < 8 {
		return nil, fmt.Errorf("getsockname: %s: %w", name, err)
	}
	rec.Protocol = binary.BigEndian.Uint16(name[2:])
	if index := binary.LittleEndian.Uint32(name[4:]); index != 0 {
		if rec.Interface, err = interfaceName(fd, index); err != nil {
			return nil, err
		}
	}
	fanout, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return nil, fmt.Errorf("getsockopt PACKET_FANOUT: %w", err)
	}
	rec.Fanout = uint32(fanout)
	if typ := rec.Fanout >> 16 & 0xff; typ == fanoutCBPF || typ == fanoutEBPF {
		return nil, fdstate.Refuse("a program that cannot be read back chooses its packets (PACKET_FANOUT_CBPF, PACKET_FANOUT_EBPF)", "")
	}
	rec.Settings, err = readSettings(fd, u.of(all, unix.AF_PACKET, rec.Type, 0), socketOptions, packetOptions)
	return rec, err
}

// interfaceName asks for the name in the network namespace of a socket.
func interfaceName(fd int, index uint32) (string, error) {
	ifreq, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	ifreq.SetUint32(index)
	err = unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifreq)
	if errors.Is(err, unix.ENODEV) {
		return "", fdstate.Refuse("the network interface that it is bound to is gone", "")
	}
	if err != nil {
		return "", fmt.Errorf("ioctl SIOCGIFNAME: %w", err)
	}
	return ifreq.Name(), nil
}

// interfaceIndex is its inverse.
func interfaceIndex(fd int, name string) (uint32, error) {
	ifreq, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifreq); err != nil {
		return 0, &HostError{Why: fmt.Sprintf("there is no network interface %s here", name), Err: err}
	}
	return ifreq.Uint32(), nil
}

// What sock_diag is asked, and tells, about packet sockets (Linux
// include/uapi/linux/packet_diag.h).
const (
	packetShowMembers, packetShowRings                 = 2, 4
	packetDiagMembers, packetDiagReceive, packetDiagTx = 1, 2, 3

	sockDiagByFamily = 20
	packetDiagHead   = 16 // struct packet_diag_msg
	packetDiagMember = 44 // struct packet_diag_mclist
)

// diagnose asks for what getsockopt(2) does not tell.
func (rec *PacketSocket) diagnose(all *fdstate.Survey, ino uint32) error {
	fd, err := openNetlink(all, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	le := binary.LittleEndian
	head := []byte{unix.AF_PACKET, 0, 0, 0}
	for _, v := range []uint32{0, packetShowMembers | packetShowRings, 1<<32 - 1, 1<<32 - 1} {
		head = le.AppendUint32(head, v)
	}
	found := false
	err = newRequest(sockDiagByFamily, unix.NLM_F_DUMP, head).ask(fd, func(data []byte) error {
		if len(data) < packetDiagHead || le.Uint32(data[4:]) != ino {
			return nil
		}
		found = true
		return eachAttribute(data[packetDiagHead:], func(kind uint16, value []byte) error {
			switch kind {
			case packetDiagReceive, packetDiagTx:
				return fdstate.Refuse("it shares a ring of packets with the kernel (PACKET_RX_RING, PACKET_TX_RING)", "")
			case packetDiagMembers:
				return rec.members(fd, value)
			}
			return nil
		})
	})
	if err == nil && !found || errors.Is(err, unix.ENOENT) {
		err = fdstate.Refuse("this kernel does not tell about packet sockets (CONFIG_PACKET_DIAG)", "")
	}
	return err
}

// members reads a list of struct packet_diag_mclist.
func (rec *PacketSocket) members(fd int, b []byte) error {
	le := binary.LittleEndian
	for ; len(b) >= packetDiagMember; b = b[packetDiagMember:] {
		name, err := interfaceName(fd, le.Uint32(b))
		if err != nil {
			return err
		}
		size := min(le.Uint16(b[10:]), 32)
		rec.Members = append(rec.Members, PacketMode{Interface: name, Count: le.Uint32(b[4:]), Type: le.Uint16(b[8:]), Addr: append([]byte(nil), b[12:12+size]...)})
	}
	return nil
}

// Check is for records out of an image.
func (rec *PacketSocket) Check(*fdstate.State) error {
	if rec.Type != unix.SOCK_RAW && rec.Type != unix.SOCK_DGRAM || len(rec.Interface) >= unix.IFNAMSIZ {
		return errors.New("not a packet socket")
	}
	for _, m := range rec.Members {
		if m.Interface == "" || len(m.Interface) >= unix.IFNAMSIZ || len(m.Addr) > 8 || m.Count > 1<<16 {
			return errors.New("not what a packet socket has an interface receive")
		}
	}
	return rec.Settings.check()
}

// Restore makes the socket, which receives nothing before it has its filter.
func (rec *PacketSocket) Restore(o *fdstate.Opener, _ *fdstate.File, at fdstate.Slot) error {
	o.Open(at, "socket", unix.SYS_SOCKET, unix.AF_PACKET, rec.Type|unix.SOCK_CLOEXEC, 0)
	o.Then(func() error { return onCopy(o, at.Num, rec.complete) })
	return nil
}

func (rec *PacketSocket) complete(fd int) error {
	if err := errors.Join(setOptions(fd, rec.Settings.Options, atFirst), rec.Settings.complete(fd)); err != nil {
		return err
	}
	for _, m := range rec.Members {
		if err := m.join(fd); err != nil {
			return err
		}
	}
	if rec.Protocol != 0 || rec.Interface != "" {
		if err := rec.bind(fd); err != nil {
			return err
		}
	}
	if rec.Fanout == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, int(rec.Fanout)); err != nil {
		return fmt.Errorf("join a group of packet sockets (PACKET_FANOUT): %w", err)
	}
	return nil
}

func (rec *PacketSocket) bind(fd int) error {
	b := make(Addr, unix.SizeofSockaddrLinklayer)
	binary.LittleEndian.PutUint16(b, unix.AF_PACKET)
	binary.BigEndian.PutUint16(b[2:], rec.Protocol)
	if rec.Interface != "" {
		index, err := interfaceIndex(fd, rec.Interface)
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(b[4:], index)
	}
	if err := useAddr(unix.SYS_BIND, fd, b); err != nil {
		return fmt.Errorf("bind a packet socket: %w", err)
	}
	return nil
}

// join asks as often as the program did, which counts.
func (m *PacketMode) join(fd int) error {
	index, err := interfaceIndex(fd, m.Interface)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	req := le.AppendUint16(le.AppendUint16(le.AppendUint32(nil, index), m.Type), uint16(len(m.Addr)))
	req = append(append(req, m.Addr...), make([]byte, 8-len(m.Addr))...)
	for range m.Count {
		if err := unix.SetsockoptString(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, string(req)); err != nil {
			return fmt.Errorf("set what a packet socket receives: %w", err)
		}
	}
	return nil
}
