package netstate

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"supervise/internal/translate"
)

// A plugin may say that the addresses and names of sockets are others now. A
// connection inside the tree is made between the new ones; one that leads to
// somebody outside who has moved is connected anew there.

// Translate changes the addresses of a TCP socket.
func (rec *TCP) Translate(v *translate.Values) (connect string, err error) {
	rec.Local = v.End(rec.Local)
	if rec.Listen != nil {
		for i := range rec.Listen.Closed {
			c := &rec.Listen.Closed[i]
			c.From, c.To = v.End(c.From), v.End(c.To)
		}
	}
	now := v.End(rec.Peer)
	switch {
	case !rec.Outside:
		rec.Peer = now
	case now != rec.Peer && !rec.Accepted: // who has called here will call again
		return plain(now).String(), nil
	}
	return "", nil
}

// Translate changes the addresses of a datagram socket.
func (rec *Datagram) Translate(v *translate.Values) (string, error) {
	rec.Local, rec.Peer = translateAddr(v, rec.Local), translateAddr(v, rec.Peer)
	for i := range rec.Queue {
		p := &rec.Queue[i]
		p.From = translateAddr(v, p.From)
		if to, ok := netip.AddrFromSlice(p.To); ok {
			p.To = v.IP(to).AsSlice()
		}
	}
	return "", nil
}

// translateAddr changes an address of AF_INET or AF_INET6, in its place.
func translateAddr(v *translate.Values, old Addr) Addr {
	at, ok := old.inet()
	if !ok {
		return old
	}
	now := v.End(at)
	if now == at {
		return old
	}
	b := inetAddr(old.family(), now)
	if old.family() == unix.AF_INET6 {
		copy(b[24:], old[24:]) // the scope
	}
	return b
}

// Translate changes the names of a unix socket.
func (rec *Unix) Translate(v *translate.Values) (connect string, err error) {
	names := []*[]byte{}
	if rec.Name != nil {
		names = append(names, &rec.Name.Path)
		if rec.Name.File != nil && rec.Name.File.Dir != "" {
			rec.Name.File.Dir = v.Path(rec.Name.File.Dir)
		}
	}
	for i := range rec.Queue {
		names = append(names, &rec.Queue[i].From)
	}
	moved := false
	if rec.Gone != nil && len(rec.Gone.Name) > 0 {
		moved = string(v.Name(rec.Gone.Name)) != string(rec.Gone.Name)
		names = append(names, &rec.Gone.Name)
	}
	for _, name := range names {
		now := v.Name(*name)
		if len(now) > maxUnixPath {
			return "", &HostError{Why: fmt.Sprintf("%s is too long for a unix socket, which was at %s", printName(now), printName(*name)),
				Hint: "let the plugin give a shorter path"}
		}
		if len(now) > 0 {
			*name = now
		}
	}
	if moved && rec.Gone.Outside {
		return printName(rec.Gone.Name), nil
	}
	return "", nil
}

// Translate changes the addresses that a namespace of the tree's own gets.
func (n *Namespace) Translate(v *translate.Values) {
	if n == nil {
		return
	}
	for i := range n.Links {
		for j, a := range n.Links[i].Addrs {
			if prefix, err := netip.ParsePrefix(a); err == nil {
				n.Links[i].Addrs[j] = netip.PrefixFrom(v.IP(prefix.Addr()), prefix.Bits()).String()
			}
		}
	}
}
