package netstate

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A connection that is made by TCP_REPAIR is established. That it has sent its
// end, shutdown(2) does. That the other end has sent its own, the kernel knows
// only from a segment: it gets one from us, as it came before.

// repairState is the state that a connection is to be in: whether the other end
// has acknowledged ours does not matter.
func (rec *TCP) repairState() TCPState {
	if rec.State == tcpCloseWait && rec.Shutdown&shutWrite != 0 {
		return tcpLastAck
	}
	return rec.State
}

// finish brings a socket that has just left repair mode into a state. What it
// had not sent is sent again.
func (r *TCPRepair) finish(fd int, local, peer netip.AddrPort, state TCPState) error {
	if state.otherFIN() {
		if err := r.endOfOther(fd, local, peer); err != nil {
			return err
		}
	}
	if state.ownFIN() && (state.otherFIN() || len(r.Unsent) > 0) {
		return unix.Shutdown(fd, unix.SHUT_WR)
	}
	return nil
}

// endOfOther sends the end of the other end once more, from a raw socket (see
// sendRaw), and waits until it has come.
func (r *TCPRepair) endOfOther(fd int, local, peer netip.AddrPort) error {
	domain := unix.AF_INET
	if local.Addr().Unmap().Is6() {
		domain = unix.AF_INET6
	}
	raw, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(raw)
	to := sockaddrOf(domain, netip.AddrPortFrom(local.Addr().Unmap(), 0))
	moment := time.Millisecond
	for deadline := time.Now().Add(connectPatience); ; time.Sleep(moment) {
		// The hold of a holder that was just ended may still take one.
		if err := unix.Sendto(raw, r.fin(plain(local), plain(peer)), 0, to); err != nil {
			return fmt.Errorf("send the end of a connection: %w", err)
		}
		moment *= 2
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		switch {
		case err != nil:
			return fmt.Errorf("get TCP_INFO: %w", err)
		case TCPState(info.State) != tcpEstablished:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("the end of the connection between %s and %s does not arrive", local, peer)
		}
	}
}

// fin is the segment (RFC 9293, section 3.1): no data, and nothing that was not
// acknowledged before.
func (r *TCPRepair) fin(local, peer netip.AddrPort) []byte {
	const size, ttl, flagFIN, flagACK = 20, 64, 1, 16
	window := r.Window.SendWindow
	if r.Scales != nil {
		window >>= r.Scales.Send
	}
	be := binary.BigEndian
	b := ipHead(unix.IPPROTO_TCP, 0, ttl, peer, local, size)
	head := len(b)
	b = be.AppendUint16(b, peer.Port())
	b = be.AppendUint16(b, local.Port())
	b = be.AppendUint32(b, r.RecvSeq)
	b = be.AppendUint32(b, r.SendSeq-uint32(len(r.Sent)+len(r.Unsent)))
	b = append(b, size/4<<4, flagFIN|flagACK)
	b = be.AppendUint16(b, uint16(min(window, 0xffff)))
	b = append(b, 0, 0, 0, 0)
	be.PutUint16(b[head+16:], checksum(unix.IPPROTO_TCP, peer.Addr(), local.Addr(), b[head:]))
	return b
}
