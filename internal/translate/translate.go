// Package translate says what the host calls now what a tree knew by another
// name: paths, and addresses of sockets. Plugins give such translations before a
// restart, and the packages of the state apply them to their records.
package translate

import (
	"bytes"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// Values are old names and new ones.
type Values struct {
	// Paths are full paths, of files or of directories with all below them. The
	// longest that fits counts.
	Paths map[string]string

	// Addresses are IP, IP:PORT or [IP]:PORT, and @ with an abstract name of unix
	// sockets. Those with a port come first.
	Addresses map[string]string
}

// Empty tells that everything is called as it was.
func (v *Values) Empty() bool { return v == nil || len(v.Paths)+len(v.Addresses) == 0 }

// Check refuses what is no translation.
func (v *Values) Check() error {
	for old, now := range v.Paths {
		for _, p := range []string{old, now} {
			if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsRune(p, 0) {
				return fmt.Errorf("paths: %q is not a full path, with no . or .. in it and no / at its end", p)
			}
		}
	}
	for old, now := range v.Addresses {
		if err := checkAddress(old, now); err != nil {
			return fmt.Errorf("addresses: %w", err)
		}
	}
	return nil
}

// checkAddress wants both of one form, and of one family.
func checkAddress(old, now string) error {
	if isAbstract(old) || isAbstract(now) {
		if !isAbstract(old) || !isAbstract(now) {
			return fmt.Errorf("%q and %q are not both abstract names", old, now)
		}
		return nil
	}
	oldIP, oldErr := netip.ParseAddr(old)
	nowIP, nowErr := netip.ParseAddr(now)
	if oldErr != nil || nowErr != nil {
		oldEnd, oldErr := netip.ParseAddrPort(old)
		nowEnd, nowErr := netip.ParseAddrPort(now)
		if oldErr != nil || nowErr != nil {
			return fmt.Errorf("%q and %q are not both IP, IP:PORT, [IP]:PORT or @NAME", old, now)
		}
		oldIP, nowIP = oldEnd.Addr(), nowEnd.Addr()
	}
	if oldIP.Is4() != nowIP.Is4() || oldIP.Zone() != "" || nowIP.Zone() != "" || oldIP.Is4In6() || nowIP.Is4In6() {
		return fmt.Errorf("%q and %q are not of one family, or have a zone", old, now)
	}
	return nil
}

func isAbstract(name string) bool { return len(name) > 1 && name[0] == '@' }

// Path gives the new name of a file.
func (v *Values) Path(old string) string {
	if v == nil {
		return old
	}
	for dir := old; path.IsAbs(dir); dir = path.Dir(dir) {
		if now, ok := v.Paths[dir]; ok {
			return path.Join(now, strings.TrimPrefix(old, dir))
		}
		if dir == "/" {
			break
		}
	}
	return old
}

// End gives the new name of an end of a connection. The address of an IPv4
// socket that a socket of IPv6 has is one of IPv4.
func (v *Values) End(old netip.AddrPort) netip.AddrPort {
	if v == nil || !old.IsValid() {
		return old
	}
	plain := netip.AddrPortFrom(old.Addr().Unmap().WithZone(""), old.Port())
	if now, ok := v.Addresses[plain.String()]; ok {
		if end, err := netip.ParseAddrPort(now); err == nil {
			return netip.AddrPortFrom(like(end.Addr(), old.Addr()), end.Port())
		}
	}
	return netip.AddrPortFrom(v.IP(old.Addr()), old.Port())
}

// IP gives the new address for an old one, whatever the port.
func (v *Values) IP(old netip.Addr) netip.Addr {
	if v == nil {
		return old
	}
	now, err := netip.ParseAddr(v.Addresses[old.Unmap().WithZone("").String()])
	if err != nil {
		return old
	}
	return like(now, old)
}

// like gives an address in the form of another.
func like(now, old netip.Addr) netip.Addr {
	if old.Is4In6() {
		return netip.AddrFrom16(now.As16())
	}
	return now.WithZone(old.Zone())
}

// Name gives the new name of a unix socket: a path, or an abstract name after a
// zero byte. A relative path stays.
func (v *Values) Name(old []byte) []byte {
	if v == nil || len(old) == 0 {
		return old
	}
	if old[0] != 0 {
		now := v.Path(string(old))
		if now == string(old) {
			return old
		}
		return []byte(now)
	}
	if now, ok := v.Addresses["@"+string(old[1:])]; ok {
		return append([]byte{0}, now[1:]...)
	}
	return bytes.Clone(old)
}
