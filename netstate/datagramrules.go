package netstate

import (
	"bytes"
	"net/netip"

	"golang.org/x/sys/unix"

	"supervise/policy"
)

// A datagram socket has no connection that could be lost; what it is connected
// to is an address that it sends to and hears from. Rules give it another one,
// or another address of its own.

// move gives a socket the address that a rule says, and tells it to those in the
// tree that send there.
func (n *datagramNet) move(s *datagramSock) error {
	rec := s.rec
	if !s.rule.Does(policy.Bind) || len(rec.Local) == 0 || !rec.udp() {
		return nil
	}
	to, err := ruleEnd(s.rule, rec.Domain)
	if err != nil {
		return err
	}
	old := rec.Local
	rec.Local = inetAddr(rec.Domain, to)
	for _, other := range n.socks {
		if other.rec.Protocol == rec.Protocol && bytes.Equal(other.rec.Peer, old) {
			other.rec.Peer = rec.Local
		}
	}
	return nil
}

// redirect has a socket send to the address that a rule says, if it did so to
// somebody outside the tree. Its own address may be one from which there is no
// way to the new one, so that the kernel chooses it; the port stays.
func (n *datagramNet) redirect(s *datagramSock) error {
	rec := s.rec
	if !s.rule.Does(policy.Connect) || s.rule.To == "" || len(rec.Peer) == 0 || !rec.udp() {
		return nil
	}
	if in, err := n.inTree(rec); in || err != nil {
		return err
	}
	to, err := ruleEnd(s.rule, rec.Domain)
	if err != nil {
		return err
	}
	rec.Peer, rec.Unreachable = inetAddr(rec.Domain, to), false
	if local, ok := rec.Local.inet(); ok {
		anywhere := netip.IPv4Unspecified()
		if rec.Domain == unix.AF_INET6 {
			anywhere = netip.IPv6Unspecified()
		}
		rec.Local = inetAddr(rec.Domain, netip.AddrPortFrom(anywhere, local.Port()))
	}
	return nil
}

// inTree tells whether a socket of the tree has the address that one sends to.
func (n *datagramNet) inTree(rec *Datagram) (bool, error) {
	peer, _ := rec.Peer.inet()
	here, err := n.isLocal(peer.Addr().Unmap())
	if err != nil || !here {
		return false, err
	}
	for _, s := range n.socks {
		local, ok := s.rec.Local.inet()
		if ok && s.rec.Protocol == rec.Protocol && local.Port() == peer.Port() &&
			(local.Addr().IsUnspecified() || local.Addr().Unmap() == peer.Addr().Unmap()) {
			return true, nil
		}
	}
	return false, nil
}
