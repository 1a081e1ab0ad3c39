package netstate

import "golang.org/x/sys/unix"

// Names that golang.org/x/sys/unix does not have (Linux
// include/uapi/linux/in.h, in6.h, udp.h, icmp.h, icmpv6.h).
const (
	ipRecvErrRFC4884   = 26
	ipLocalPortRange   = 51
	ip6FlowInfo        = 11
	ip6RecvErrRFC4884  = 31
	ip6MinHopCount     = 73
	ip6RouterAlertOnly = 30 // IPV6_ROUTER_ALERT_ISOLATE
	ip6MulticastAll    = 29

	udpCork, udpEncap                = 1, 100
	udpNoCheck6Tx, udpNoCheck6Rx     = 101, 102
	udpSegment, udpGRO               = 103, 104
	udpliteSendCov, udpliteRecvCov   = 10, 11
	icmpFilter, icmp6Filter          = 1, 1
	solRaw, solUDP, solUDPLite, sol6 = 255, 17, 136, unix.IPPROTO_ICMPV6
)

// ipOptions are the options of IPPROTO_IP. Sockets of AF_INET6 have them as
// well, for what they send to addresses of IPv4. Memberships are not among
// them, and not the interface of IP_MULTICAST_IF when it was given by number
// alone: getsockopt(2) tells the address only (Linux
// net/ipv4/ip_sockglue.c:do_ip_getsockopt, v6.12).
var ipOptions = []optionRow{
	{unix.IPPROTO_IP, unix.IP_TOS, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_TTL, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_HDRINCL, 4, atEnd},
	{unix.IPPROTO_IP, unix.IP_OPTIONS, 40, atEnd},
	{unix.IPPROTO_IP, unix.IP_RECVOPTS, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_RETOPTS, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_PKTINFO, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_RECVERR, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_RECVTTL, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_RECVTOS, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_FREEBIND, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_PASSSEC, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_TRANSPARENT, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_MINTTL, 4, atEnd},
	{unix.IPPROTO_IP, unix.IP_NODEFRAG, 4, atEnd},
	{unix.IPPROTO_IP, unix.IP_CHECKSUM, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 4, atEnd}, // what it did is done
	{unix.IPPROTO_IP, unix.IP_RECVFRAGSIZE, 4, atFirst},
	{unix.IPPROTO_IP, ipRecvErrRFC4884, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_IF, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 4, atFirst},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 4, atEnd},
	{unix.IPPROTO_IP, unix.IP_UNICAST_IF, 4, atEnd},
	{unix.IPPROTO_IP, ipLocalPortRange, 4, atEnd}, // the port is chosen
}

// ip6Options are the options of IPPROTO_IPV6.
var ip6Options = []optionRow{
	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_2292PKTINFO, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_2292HOPOPTS, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_2292DSTOPTS, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_2292RTHDR, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_2292HOPLIMIT, 4, atFirst},
	{unix.IPPROTO_IPV6, ip6FlowInfo, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 4, atFirst},
	{unix.IPPROTO_IPV6, ip6MulticastAll, 4, atEnd},
	{unix.IPPROTO_IPV6, ip6RouterAlertOnly, 4, atEnd},
	{unix.IPPROTO_IPV6, ip6RecvErrRFC4884, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 4, atEnd},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPOPTS, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, 2048, atEnd},
	{unix.IPPROTO_IPV6, unix.IPV6_RTHDRDSTOPTS, 2048, atEnd},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVRTHDR, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_RTHDR, 2048, atEnd},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVDSTOPTS, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, 2048, atEnd},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPATHMTU, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_AUTOFLOWLABEL, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_ADDR_PREFERENCES, 4, atFirst},
	{unix.IPPROTO_IPV6, ip6MinHopCount, 4, atEnd},
	{unix.IPPROTO_IPV6, unix.IPV6_ORIGDSTADDR, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF, 4, atEnd},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVFRAGSIZE, 4, atFirst},
	{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 4, atFirst},
}

// rawOptions are those of raw and ping sockets.
var rawOptions = []optionRow{
	{solRaw, icmpFilter, 4, atEnd},
	{sol6, icmp6Filter, 32, atEnd},
	{solRaw, unix.IPV6_CHECKSUM, 4, atFirst},
}

// udpOptions are those of UDP and UDP-Lite.
var udpOptions = []optionRow{
	{solUDP, udpCork, 4, atEnd},
	{solUDP, udpNoCheck6Tx, 4, atFirst},
	{solUDP, udpNoCheck6Rx, 4, atFirst},
	{solUDP, udpSegment, 4, atEnd},
	{solUDP, udpGRO, 4, atFirst},
	{solUDPLite, udpliteSendCov, 4, atEnd},
	{solUDPLite, udpliteRecvCov, 4, atEnd},
}
