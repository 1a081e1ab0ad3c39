// tcplisten: sockets that are new, bound and listening, of IPv4 and IPv6, with
// their options; and the connections that can be made to them afterwards.
#include "tcp.h"

static const struct option { int level, name, value; } common[] = {
	{IPPROTO_IP, IP_TOS, 0x10}, {SOL_SOCKET, SO_PRIORITY, 3}, // after what sets it
	{SOL_SOCKET, SO_KEEPALIVE, 1}, {SOL_SOCKET, SO_OOBINLINE, 1}, {SOL_SOCKET, SO_RCVLOWAT, 9},
	{IPPROTO_TCP, TCP_NODELAY, 1}, {IPPROTO_TCP, TCP_CORK, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 77}, {IPPROTO_TCP, TCP_KEEPINTVL, 7},
	{IPPROTO_TCP, TCP_KEEPCNT, 5}, {IPPROTO_TCP, TCP_SYNCNT, 4}, {IPPROTO_TCP, TCP_LINGER2, 9}, {IPPROTO_TCP, TCP_USER_TIMEOUT, 31000},
	{IPPROTO_TCP, TCP_NOTSENT_LOWAT, 17000}, {IPPROTO_TCP, TCP_SAVE_SYN, 1}, {IPPROTO_TCP, TCP_INQ, 1}, {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1},
	{IPPROTO_TCP, TCP_MAXSEG, 1200}, {IPPROTO_TCP, TCP_WINDOW_CLAMP, 30000}, {IPPROTO_IP, IP_TTL, 33},
	{IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT}, {IPPROTO_IP, IP_RECVERR, 1}, {IPPROTO_IP, IP_FREEBIND, 1},
}, only6[] = {
	{IPPROTO_IPV6, IPV6_TCLASS, 0x20}, {IPPROTO_IPV6, IPV6_UNICAST_HOPS, 44}, {IPPROTO_IPV6, IPV6_RECVTCLASS, 1},
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void set_all(int fd, int domain) {
	for (size_t i = 0; i < COUNT(common); i++)
		set(fd, common[i].level, common[i].name, common[i].value);
	for (size_t i = 0; domain == AF_INET6 && i < COUNT(only6); i++)
		set(fd, only6[i].level, only6[i].name, only6[i].value);
	struct linger l = {1, 3};
	struct timeval t = {5, 250000};
	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l) == 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
	MUST(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
	set(fd, SOL_SOCKET, SO_SNDBUF, 40000);
	set(fd, SOL_SOCKET, SO_RCVBUF, 30000);
}
static void check_all(int fd, int domain) {
	for (size_t i = 0; i < COUNT(common); i++) {
		int v = get(fd, common[i].level, common[i].name);
		CHECK(v == common[i].value, "option %d of level %d is %d, was %d", common[i].name, common[i].level, v, common[i].value);
	}
	for (size_t i = 0; domain == AF_INET6 && i < COUNT(only6); i++)
		MUST(get(fd, only6[i].level, only6[i].name) == only6[i].value);
	struct linger l;
	struct timeval t;
	char algorithm[16] = "";
	socklen_t n = sizeof l, nt = sizeof t, na = sizeof algorithm;
	MUST(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &n) == 0 && l.l_onoff == 1 && l.l_linger == 3);
	MUST(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, &nt) == 0 && t.tv_sec == 5 && t.tv_usec / 10000 == 25);
	MUST(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, &na) == 0 && !strcmp(algorithm, "reno"));
	MUST(get(fd, SOL_SOCKET, SO_SNDBUF) == 80000 && get(fd, SOL_SOCKET, SO_RCVBUF) == 60000);
}

static int bound4(int port) {
	int fd = sock(AF_INET);
	struct sockaddr_in a = own4(port);
	MUST(bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
	return fd;
}
static int listen6(const char *host, int only) {
	int fd = sock(AF_INET6);
	struct sockaddr_in6 a = own6(0, host);
	if (only >= 0)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
	MUST(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 7) == 0);
	return fd;
}
static void works(int listener, int domain) {
	struct link l = through(listener, domain);
	says(l.c, "hello");
	hears(l.s, "hello");
	close(l.c), close(l.s);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	enum { N = 12 };
	int fresh = sock(AF_INET), fresh6 = sock(AF_INET6), bound = bound4(0), half = sock(AF_INET), plain = bound4(0);
	struct sockaddr_in a = own4(0);
	set(half, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	MUST(bind(half, (struct sockaddr *)&a, sizeof a) == 0 && listen(plain, 17) == 0);
	int mapped = listen6(NULL, 0), dual = listen6("::", 0), only = listen6("::", 1), six = listen6("::1", -1);
	set_all(fresh, AF_INET), set_all(fresh6, AF_INET6);
	int all = sock(AF_INET);
	set_all(all, AF_INET);
	set(all, IPPROTO_TCP, TCP_DEFER_ACCEPT, 3), set(all, IPPROTO_TCP, TCP_FASTOPEN, 11);
	MUST(setsockopt(all, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0);
	listen4(all, 0, 3);
	int defer = get(all, IPPROTO_TCP, TCP_DEFER_ACCEPT);
	int group[2] = {sock(AF_INET), sock(AF_INET)}; // two at the same port
	set(group[0], SOL_SOCKET, SO_REUSEPORT, 1), set(group[1], SOL_SOCKET, SO_REUSEPORT, 1);
	listen4(group[0], 0, 5), listen4(group[1], port_of(group[0]), 5);
	int noblock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), reuse = sock(AF_INET);
	set(reuse, SOL_SOCKET, SO_REUSEADDR, 1);
	listen4(noblock, 0, 0), listen4(reuse, 0, 4096);
	int fds[] = {fresh, fresh6, bound, half, plain, mapped, dual, only, six, all, group[0], group[1], noblock, reuse};
	struct name names[COUNT(fds)];
	for (size_t i = 0; i < COUNT(fds); i++)
		names[i] = name_of(fds[i], 0);
	struct tcp_info before, after;
	socklen_t n = sizeof before;
	MUST(getsockopt(plain, IPPROTO_TCP, TCP_INFO, &before, &n) == 0);
	ready_wait();
	for (size_t i = 0; i < COUNT(fds); i++)
		CHECK(!strcmp(name_of(fds[i], 0).text, names[i].text), "socket %zu: %s, was %s", i, name_of(fds[i], 0).text, names[i].text);
	MUST(getsockopt(plain, IPPROTO_TCP, TCP_INFO, &after, &n) == 0 && before.tcpi_state == after.tcpi_state && before.tcpi_sacked == after.tcpi_sacked);
	check_all(fresh, AF_INET), check_all(fresh6, AF_INET6), check_all(all, AF_INET);
	MUST(get(all, IPPROTO_TCP, TCP_DEFER_ACCEPT) == defer && get(all, IPPROTO_TCP, TCP_FASTOPEN) == 11);
	char device[16] = "";
	n = sizeof device;
	MUST(getsockopt(all, SOL_SOCKET, SO_BINDTODEVICE, device, &n) == 0 && !strcmp(device, "lo"));
	MUST(get(mapped, IPPROTO_IPV6, IPV6_V6ONLY) == 0 && get(dual, IPPROTO_IPV6, IPV6_V6ONLY) == 0 && get(only, IPPROTO_IPV6, IPV6_V6ONLY) == 1);
	MUST(get(half, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT) == 1 && get(plain, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT) == 0);
	MUST(get(group[1], SOL_SOCKET, SO_REUSEPORT) == 1 && get(reuse, SOL_SOCKET, SO_REUSEPORT) == 0);
	MUST(get(reuse, SOL_SOCKET, SO_REUSEADDR) == 1 && get(plain, SOL_SOCKET, SO_REUSEADDR) == 0 && get(fresh, SOL_SOCKET, SO_REUSEADDR) == 0);
	MUST(fcntl(noblock, F_GETFL) & O_NONBLOCK && !(fcntl(plain, F_GETFL) & O_NONBLOCK));
	MUST(accept(noblock, NULL, NULL) == -1 && errno == EAGAIN);
	works(plain, AF_INET), works(mapped, AF_INET6), works(dual, AF_INET6), works(only, AF_INET6), works(six, AF_INET6), works(reuse, AF_INET);
	MUST(listen(bound, 5) == 0);
	works(bound, AF_INET);
	ok();
}
