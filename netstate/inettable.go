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

// inetEntry is what /proc/net tells about a socket that does not make
// connections (Linux net/ipv4/udp.c:udp4_format_sock, v6.12).
type inetEntry struct {
	remote    netip.AddrPort
	connected bool
	unsent    uint64 // memory of what it has sent and is still ours
	unread    uint64 // memory of its receive queue
}

// inetTables are the lists of the network namespace of a tree, by file name.
type inetTables map[string]map[uint64]inetEntry

// inetFiles are the names of lists by protocol, for AF_INET. For AF_INET6
// there is a 6 behind them.
var inetFiles = map[int]string{unix.IPPROTO_UDP: "udp", unix.IPPROTO_UDPLITE: "udplite",
	unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_ICMPV6: "icmp"}

// find gives the entry of a socket. One without an entry has neither been
// bound nor connected: it has nothing to tell.
func (t inetTables) find(pid task.PID, domain, typ, protocol int, ino uint64) (inetEntry, error) {
	name := inetFiles[protocol]
	if typ == unix.SOCK_RAW {
		name = "raw"
	}
	if domain == unix.AF_INET6 {
		name += "6"
	}
	if t[name] == nil {
		list, err := readInetTable(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if err != nil {
			return inetEntry{}, err
		}
		t[name] = list
	}
	return t[name][ino], nil
}

func readInetTable(path string) (map[uint64]inetEntry, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) { // a kernel without this protocol
		return map[uint64]inetEntry{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list := map[uint64]inetEntry{}
	lines := bufio.NewScanner(f)
	for lines.Scan(); lines.Scan(); { // the first is a heading
		ino, e, err := parseInetLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list[ino] = e
	}
	return list, lines.Err()
}

// parseInetLine reads "sl: local remote state tx:rx tr:when retr uid timeout inode...".
func parseInetLine(line string) (ino uint64, e inetEntry, err error) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return 0, e, fmt.Errorf("line %q is too short", line)
	}
	unsent, unread, _ := strings.Cut(f[4], ":")
	var errs [4]error
	e.remote, errs[0] = parseInetAddr(f[2])
	e.unsent, errs[1] = strconv.ParseUint(unsent, 16, 64)
	e.unread, errs[2] = strconv.ParseUint(unread, 16, 64)
	ino, errs[3] = strconv.ParseUint(f[9], 10, 64)
	e.connected = f[3] == "01" // TCP_ESTABLISHED
	return ino, e, errors.Join(errs[:]...)
}

// parseInetAddr reads an address that is printed as words of 32 bits in the
// order of the host, and a port.
func parseInetAddr(s string) (netip.AddrPort, error) {
	words, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(words)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.LittleEndian.Uint32(b[i:]))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip, uint16(n)), err
}
