package netstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// TCPRepair is what a connection needs to go on as the same one, beside its
// addresses and what was received (Linux net/ipv4/tcp.c:do_tcp_setsockopt,
// TCP_REPAIR, v6.12). Only who has CAP_NET_ADMIN over the network namespace can
// ask for it, or make a connection of it.
type TCPRepair struct {
	SendSeq uint32 `cbor:"1,keyasint" json:"send_seq"` // of the byte that the program writes next
	RecvSeq uint32 `cbor:"2,keyasint" json:"recv_seq"` // of the byte that is received next
	Sent    []byte `cbor:"3,keyasint,omitempty" json:"sent,omitempty"`
	Unsent  []byte `cbor:"4,keyasint,omitempty" json:"unsent,omitempty"`

	MSS       int    `cbor:"5,keyasint" json:"mss"`
	Scales    *Scale `cbor:"6,keyasint,omitempty" json:"window_scale,omitempty"`
	SACK      bool   `cbor:"7,keyasint,omitempty" json:"sack,omitempty"`
	Timestamp *int   `cbor:"8,keyasint,omitempty" json:"timestamp,omitempty"`

	Window Window `cbor:"9,keyasint" json:"window"`
}

// Scale is by how many bits the windows are shifted.
type Scale struct {
	Send    uint8 `cbor:"1,keyasint" json:"send"`
	Receive uint8 `cbor:"2,keyasint" json:"receive"`
}

// Window is struct tcp_repair_window.
type Window struct {
	SendWL1    uint32 `cbor:"1,keyasint" json:"snd_wl1"`
	SendWindow uint32 `cbor:"2,keyasint" json:"snd_wnd"`
	Max        uint32 `cbor:"3,keyasint" json:"max_window"`
	RecvWindow uint32 `cbor:"4,keyasint" json:"rcv_wnd"`
	RecvWUP    uint32 `cbor:"5,keyasint" json:"rcv_wup"`
}

// Values of TCP_REPAIR and TCP_REPAIR_QUEUE (Linux include/uapi/linux/tcp.h).
const (
	repairOn         = 1
	repairOff        = 0  // and tell the other end that we are there
	repairOffNoProbe = -1 // and tell nobody

	recvQueue = 1
	sendQueue = 2
)

// Bits of tcpi_options.
const (
	infoTimestamps = 1
	infoSACK       = 2
	infoScale      = 4
)

// repaired runs fn on a socket in repair mode. Nothing is sent meanwhile. That
// the mode takes SO_REUSEADDR away when it ends is made good.
func repaired(fd int, fn func() error) error {
	reuse, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	if err != nil {
		return err
	}
	if err := setTCP(fd, unix.TCP_REPAIR, repairOn); err != nil {
		return err
	}
	return errors.Join(fn(), endRepair(fd, reuse))
}

// endRepair ends the mode without a word to the other end.
func endRepair(fd, reuse int) error {
	return errors.Join(setTCP(fd, unix.TCP_REPAIR, repairOffNoProbe), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, reuse))
}

func setTCP(fd, name, value int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, name, value); err != nil {
		return fmt.Errorf("set TCP option %d to %d: %w", name, value, err)
	}
	return nil
}

func getTCP(fd, name int) (int, error) {
	value, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, name)
	if err != nil {
		return 0, fmt.Errorf("get TCP option %d: %w", name, err)
	}
	return value, nil
}

// queueSeq chooses a queue, and gives the number behind its last byte.
func queueSeq(fd, queue int) (uint32, error) {
	if err := setTCP(fd, unix.TCP_REPAIR_QUEUE, queue); err != nil {
		return 0, err
	}
	seq, err := getTCP(fd, unix.TCP_QUEUE_SEQ)
	return uint32(seq), err
}

// ownFIN and otherFIN tell in which states the end of what is sent has taken a
// number, and in which that of what is received.
func (s TCPState) ownFIN() bool   { return s.in(tcpFinWait1, tcpFinWait2, tcpClosing, tcpLastAck) }
func (s TCPState) otherFIN() bool { return s.in(tcpCloseWait, tcpClosing, tcpLastAck) }

// ackedFIN: the other end has seen it.
func (s TCPState) ackedFIN() bool { return s == tcpFinWait2 }

// captureRepair reads everything of a connection in a state. The socket must be
// in repair mode, and nothing may come in.
func captureRepair(fd int, state TCPState) (*TCPRepair, error) {
	r := &TCPRepair{}
	var err error
	if r.RecvSeq, err = queueSeq(fd, recvQueue); err != nil {
		return nil, err
	}
	if r.SendSeq, err = queueSeq(fd, sendQueue); err != nil {
		return nil, err
	}
	if state.ownFIN() {
		r.SendSeq--
	}
	if state.otherFIN() {
		r.RecvSeq--
	}
	if err := r.readSendQueue(fd, state); err != nil {
		return nil, err
	}
	if err := r.readOptions(fd); err != nil {
		return nil, err
	}
	raw := make([]byte, 20)
	if n, err := getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_WINDOW, raw); err != nil || n != len(raw) {
		return nil, fmt.Errorf("get TCP_REPAIR_WINDOW: %w", err)
	}
	for i, to := range r.Window.fields() {
		*to = binary.LittleEndian.Uint32(raw[4*i:])
	}
	if int32(r.Window.RecvWUP-r.RecvSeq) > 0 {
		r.Window.RecvWUP = r.RecvSeq // the end of the other end comes later
	}
	return r, nil
}

func (w *Window) fields() []*uint32 {
	return []*uint32{&w.SendWL1, &w.SendWindow, &w.Max, &w.RecvWindow, &w.RecvWUP}
}

// readSendQueue reads what the other end has not acknowledged. The send queue
// has been chosen.
func (r *TCPRepair) readSendQueue(fd int, state TCPState) error {
	size, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return fmt.Errorf("ioctl SIOCOUTQ: %w", err)
	}
	unsent, err := unix.IoctlGetInt(fd, siocOutqNSD)
	if err != nil {
		return fmt.Errorf("ioctl SIOCOUTQNSD: %w", err)
	}
	if state.ownFIN() && !state.ackedFIN() {
		size--
		unsent = max(unsent-1, 0)
	}
	if size <= 0 {
		return nil
	}
	data := make([]byte, size)
	n, _, err := unix.Recvfrom(fd, data, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n != size {
		return fmt.Errorf("read the send queue: %d of %d bytes: %w", n, size, err)
	}
	r.Sent, r.Unsent = data[:size-unsent], data[size-unsent:]
	return nil
}

// siocOutqNSD is SIOCOUTQNSD: bytes that were not sent even once.
const siocOutqNSD = 0x894b

// readOptions reads what both ends have agreed on.
func (r *TCPRepair) readOptions(fd int) error {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return fmt.Errorf("get TCP_INFO: %w", err)
	}
	if r.MSS, err = getTCP(fd, unix.TCP_MAXSEG); err != nil {
		return err
	}
	r.SACK = info.Options&infoSACK != 0
	if info.Options&infoScale != 0 {
		scales, err := windowScales(fd)
		if err != nil {
			return err
		}
		r.Scales = &scales
	}
	if info.Options&infoTimestamps == 0 {
		return nil
	}
	now, err := getTCP(fd, unix.TCP_TIMESTAMP)
	r.Timestamp = &now
	return err
}

// windowScales reads the bit field of struct tcp_info that x/sys leaves out.
func windowScales(fd int) (Scale, error) {
	raw := make([]byte, 8)
	if n, err := getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, raw); err != nil || n < len(raw) {
		return Scale{}, fmt.Errorf("get TCP_INFO: %w", err)
	}
	return Scale{Send: raw[6] & 0xf, Receive: raw[6] >> 4}, nil
}

// restoreRepair makes a connection of a new socket, without a word to the other
// end. received is what the program has not read yet. The socket stays in repair
// mode.
func (r *TCPRepair) restore(fd int, local, peer unix.Sockaddr, received []byte, state TCPState) error {
	if err := setTCP(fd, unix.TCP_REPAIR, repairOn); err != nil {
		return err
	}
	if err := makeRoom(fd, len(r.Sent)+len(r.Unsent), len(received)); err != nil {
		return err
	}
	for _, q := range []struct {
		queue int
		seq   uint32
	}{{recvQueue, r.RecvSeq - uint32(len(received))}, {sendQueue, r.SendSeq - uint32(len(r.Sent)+len(r.Unsent))}} {
		if err := setTCP(fd, unix.TCP_REPAIR_QUEUE, q.queue); err != nil {
			return err
		}
		if err := setTCP(fd, unix.TCP_QUEUE_SEQ, int(int32(q.seq))); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, local); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Connect(fd, peer); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := r.setOptions(fd); err != nil {
		return err
	}
	if err := fillQueue(fd, recvQueue, received); err != nil {
		return fmt.Errorf("fill the receive queue: %w", err)
	}
	if err := fillQueue(fd, sendQueue, r.Sent); err != nil {
		return fmt.Errorf("fill the send queue: %w", err)
	}
	if state.ownFIN() && !state.otherFIN() && len(r.Unsent) == 0 {
		if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
			return fmt.Errorf("shutdown: %w", err)
		}
	}
	raw := make([]byte, 0, 20)
	for _, v := range r.Window.fields() {
		raw = binary.LittleEndian.AppendUint32(raw, *v)
	}
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_WINDOW, string(raw)); err != nil {
		return fmt.Errorf("set TCP_REPAIR_WINDOW: %w", err)
	}
	return nil
}

// makeRoom lets the queues take as much as they had. The limits are those of
// later, but for that the kernel goes on to tune them.
func makeRoom(fd, send, receive int) error {
	const overhead = 2 // of memory over data
	for _, o := range []struct{ size, force, name int }{{send, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {receive, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}} {
		if o.size == 0 {
			continue
		}
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.force, overhead*o.size) != nil {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.name, overhead*o.size); err != nil {
				return fmt.Errorf("make room in a queue: %w", err)
			}
		}
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, soBufLock, 0)
}

// setOptions sets what both ends have agreed on (struct tcp_repair_opt: the
// kind of a TCP option, and its value).
func (r *TCPRepair) setOptions(fd int) error {
	const optMSS, optScale, optSACK, optTimestamps = 2, 3, 4, 8
	var raw []byte
	add := func(kind, value uint32) {
		raw = binary.LittleEndian.AppendUint32(raw, kind)
		raw = binary.LittleEndian.AppendUint32(raw, value)
	}
	add(optMSS, uint32(r.MSS))
	if r.Scales != nil {
		add(optScale, uint32(r.Scales.Send)|uint32(r.Scales.Receive)<<16)
	}
	if r.SACK {
		add(optSACK, 0)
	}
	if r.Timestamp != nil {
		add(optTimestamps, 0)
	}
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_OPTIONS, string(raw)); err != nil {
		return fmt.Errorf("set TCP_REPAIR_OPTIONS: %w", err)
	}
	if r.Timestamp == nil {
		return nil
	}
	return setTCP(fd, unix.TCP_TIMESTAMP, int(int32(*r.Timestamp)))
}

// fillQueue puts data into a queue, where it counts as received, or as sent and
// not acknowledged.
func fillQueue(fd, queue int, data []byte) error {
	if err := setTCP(fd, unix.TCP_REPAIR_QUEUE, queue); err != nil {
		return err
	}
	for part := 64 << 10; len(data) > 0; {
		n, err := sendmsg(fd, data[:min(part, len(data))], nil, nil)
		switch {
		case errors.Is(err, unix.ENOMEM) && part > 1<<10:
			part /= 2 // it must fit into one piece of memory
		case err != nil:
			return err
		}
		data = data[max(n, 0):]
	}
	return nil
}

// goOn ends repair mode: what was not sent is sent, and the other end is asked
// what it has received.
func (r *TCPRepair) goOn(fd, reuse int) error {
	if err := setTCP(fd, unix.TCP_REPAIR, repairOff); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, reuse); err != nil {
		return err
	}
	for rest := r.Unsent; len(rest) > 0; {
		n, err := sendmsg(fd, rest, nil, nil)
		if err != nil {
			return fmt.Errorf("send what was not sent: %w", err)
		}
		rest = rest[n:]
	}
	return nil
}
