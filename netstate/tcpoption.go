package netstate

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"supervise/fdstate"
)

// Names that golang.org/x/sys/unix does not have (Linux
// include/uapi/linux/tcp.h).
const (
	tcpRTOMaxMS    = 44
	tcpRTOMinUS    = 45
	tcpDelackMaxUS = 46
	tcpAOInfo      = 40
)

// tcpOptions are those of TCP, and of SOL_SOCKET what only streams have. Some
// that can be set cannot be read (keys of TCP_MD5SIG, TCP_REPAIR), or have
// another meaning then (TCP_QUICKACK shows what the kernel does just now).
var tcpOptions = []optionRow{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_CORK, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_SYNCNT, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_CONGESTION, 16, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_SAVE_SYN, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_INQ, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_TX_DELAY, 4, atEnd},
	{unix.IPPROTO_TCP, tcpRTOMaxMS, 4, atEnd},
	{unix.IPPROTO_TCP, tcpRTOMinUS, 4, atEnd},
	{unix.IPPROTO_TCP, tcpDelackMaxUS, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_ZEROCOPY, 4, atEnd},
	{unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, 8, atEnd},
}

// tcpFreeOptions are those that a connection, once made, does not let be set, or
// shows otherwise than they were set (Linux net/ipv4/tcp.c:do_tcp_getsockopt,
// v6.12).
var tcpFreeOptions = []optionRow{
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG, 4, atFirst},
	{unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 4, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_KEY, 32, atEnd},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_NO_COOKIE, 4, atEnd},
}

// readTCPOptions reads what can be set.
func (s *tcpSurvey) readTCPOptions(rec *TCP, fd int) error {
	if err := refuseTCPOptions(fd); err != nil {
		return err
	}
	// IP_TOS sets SO_PRIORITY as well, and so comes before it.
	tables := slices.Concat(ipOptions, socketOptions, tcpOptions)
	if rec.Domain == unix.AF_INET6 {
		tables = append(tables, ip6Options...)
	}
	if !rec.connected() && rec.Shutdown == 0 {
		tables = append(tables, tcpFreeOptions...)
	}
	fresh := s.fresh.of(s.all, rec.Domain, unix.SOCK_STREAM, rec.protocol())
	for i := range tables {
		row := &tables[i]
		if notForStreams[[2]int{row.level, row.name}] {
			continue
		}
		value, err := row.get(fd)
		if err != nil {
			return err
		}
		usual, err := fresh.get(*row)
		if err != nil {
			return err
		}
		priority := row.level == unix.SOL_SOCKET && row.name == unix.SO_PRIORITY && len(value) > 0
		if !slices.Equal(value, usual) || priority && rec.has(unix.IPPROTO_IP, unix.IP_TOS) {
			rec.Options = append(rec.Options, Option{Level: row.level, Name: row.name, Value: value})
		}
	}
	var err error
	if rec.Filter, err = readFilter(fd); err != nil {
		return err
	}
	if rec.Buffers, err = readLockedBuffers(fd); err != nil || !rec.connected() || rec.Buffers.Locks&receiveLock == 0 {
		return err
	}
	// The kernel tunes the window of the others.
	clamp := &optionRow{unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, 4, atEnd}
	value, err := clamp.get(fd)
	rec.Options = append(rec.Options, Option{Level: clamp.level, Name: clamp.name, Value: value})
	return err
}

// notForStreams are options that cannot be set on a stream. The kernel uses the
// places of some for notes of its own about it (Linux
// net/ipv4/tcp_ipv4.c:tcp_v4_syn_recv_sock, v6.12).
var notForStreams = map[[2]int]bool{
	{unix.IPPROTO_IP, unix.IP_HDRINCL}: true, {unix.IPPROTO_IP, unix.IP_NODEFRAG}: true, {unix.IPPROTO_IP, unix.IP_CHECKSUM}: true,
	{unix.IPPROTO_IP, unix.IP_MULTICAST_IF}: true, {unix.IPPROTO_IP, unix.IP_MULTICAST_TTL}: true,
	{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP}: true, {unix.IPPROTO_IP, unix.IP_MULTICAST_ALL}: true,
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF}: true, {unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS}: true,
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP}: true, {unix.IPPROTO_IPV6, ip6MulticastAll}: true,
	{unix.IPPROTO_IPV6, unix.IPV6_HDRINCL}: true,
}

// has tells whether an option is to be set.
func (rec *TCP) has(level, name int) bool {
	return slices.ContainsFunc(rec.Options, func(o Option) bool { return o.is(level, name) })
}

// refuseTCPOptions refuses what cannot be read back.
func refuseTCPOptions(fd int) error {
	ulp := make([]byte, 16)
	if n, err := getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_ULP, ulp); err == nil && n > 0 {
		if name := unix.ByteSliceToString(ulp[:n]); name != "" && name != "mptcp" {
			return fdstate.Refuse(fmt.Sprintf("the kernel speaks %q on it (TCP_ULP), and its keys cannot be read back", name),
				"let the program do TLS by itself")
		}
	}
	if _, err := getsockopt(fd, unix.IPPROTO_TCP, tcpAOInfo, make([]byte, 64)); err == nil {
		return fdstate.Refuse("its segments are signed (TCP_AO)", "")
	}
	return nil
}

// Locks of SO_BUF_LOCK (Linux include/net/sock.h).
const (
	sendLock    = 1
	receiveLock = 2
)

// readLockedBuffers reads the limits that the program has set. The kernel
// tunes the others by itself.
func readLockedBuffers(fd int) (b Buffers, err error) {
	if b.Locks, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, soBufLock); err != nil {
		return b, fmt.Errorf("getsockopt SO_BUF_LOCK: %w", err)
	}
	if b.Locks&sendLock != 0 {
		if b.Send, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil {
			return b, fmt.Errorf("getsockopt SO_SNDBUF: %w", err)
		}
	}
	if b.Locks&receiveLock != 0 {
		if b.Receive, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil {
			return b, fmt.Errorf("getsockopt SO_RCVBUF: %w", err)
		}
	}
	return b, nil
}
