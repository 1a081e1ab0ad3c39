package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Ends are the two ends of a socket, as rules see them.
type Ends struct {
	Local, Peer string // IP:PORT, [IP]:PORT, a path, or @ and an abstract name; "" where there is none
	Direction   string // "listen", "in" or "out"; "" if it is neither
}

// directions are what a socket can be, for direction=.
var directions = []string{"listen", "in", "out"}

// Address is a pattern for an end of a socket: a network and ports, or a
// pattern for paths and abstract names.
type Address struct {
	text    string
	name    *Glob
	network netip.Prefix // not valid: any
	ports   Span
}

// String is the pattern as it was written.
func (a Address) String() string { return a.text }

// anyPort are all ports.
var anyPort = Span{0, 1<<16 - 1}

// NewAddress reads HOST, HOST:PORT or a name. HOST is an address, a network
// (10.0.0.0/8, [fe80::/10]) or *; PORT is a number, a range or *. Names begin
// with / or @.
func NewAddress(text string) (Address, error) {
	a := Address{text: text, ports: anyPort}
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "@") || strings.HasPrefix(text, "**/") {
		g, err := NewGlob(text)
		a.name = &g
		return a, err
	}
	host, port := cutPort(text)
	if port != "" && port != "*" {
		span, err := parseSpan(port, 16)
		if err != nil {
			return a, fmt.Errorf("%q: the port is no number, and no range such as 1-1023", text)
		}
		a.ports = span
	}
	if host == "*" || host == "" && port != "" {
		return a, nil
	}
	var err error
	if a.network, err = parseNetwork(host); err != nil {
		return a, fmt.Errorf("%q is no address: write HOST, HOST:PORT, /PATH or @NAME; HOST is *, 10.0.0.1, 10.0.0.0/8 or [::1]", text)
	}
	return a, nil
}

// cutPort splits off what stands behind the last colon, unless that belongs to
// an address of IPv6.
func cutPort(text string) (host, port string) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || strings.Count(text, ":") > 1 && !strings.Contains(text[:i], "]") {
		return text, ""
	}
	return text[:i], text[i+1:]
}

func parseNetwork(host string) (netip.Prefix, error) {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.Contains(host, "/") {
		p, err := netip.ParsePrefix(host)
		return p.Masked(), err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(ip, ip.BitLen()), nil
}

// parseSpan reads N or N-M.
func parseSpan(text string, bits int) (Span, error) {
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, bits)
	last, err2 := strconv.ParseUint(to, 10, bits)
	if err1 != nil || err2 != nil {
		return Span{}, fmt.Errorf("%s is no number, and no range such as 3-9", text)
	}
	if first > last {
		return Span{}, fmt.Errorf("%s runs backwards", text)
	}
	return Span{int(first), int(last)}, nil
}

// Match tells whether an end fits. Addresses of IPv4 that a socket of IPv6 has
// are those of IPv4.
func (a Address) Match(end string) bool {
	if a.name != nil {
		return a.name.Match(end)
	}
	at, err := netip.ParseAddrPort(end)
	if err != nil {
		return false
	}
	ip := at.Addr().Unmap().WithZone("")
	return inSpans([]Span{a.ports}, int(at.Port())) && (!a.network.IsValid() || a.network.Contains(ip))
}

func anyAddress(patterns []Address, end string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(a Address) bool { return a.Match(end) })
}

// checkEnd is for the to= of connect and bind.
func checkEnd(to string) error {
	if strings.HasPrefix(to, "/") || strings.HasPrefix(to, "@") {
		return nil
	}
	if _, err := netip.ParseAddrPort(to); err != nil {
		return fmt.Errorf("to=%s is no end of a socket: write IP:PORT, [IP]:PORT, /PATH or @NAME", to)
	}
	return nil
}
