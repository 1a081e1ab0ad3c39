// udp: UDP and UDP-Lite sockets with datagrams waiting in them, from senders
// in the tree and from others, an error that waits, groups, options, filters.
// With the argument "empty" there are empty datagrams among them.
#include "prog.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define UDPLITE 136

union addr {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t size(const union addr *a) { return a->sa.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6; }

static union addr at(int domain, const char *host, int port) {
	union addr a = {0};
	a.sa.sa_family = domain;
	a.v4.sin_port = htons(port);
	MUST(inet_pton(domain, host, domain == AF_INET ? (void *)&a.v4.sin_addr : (void *)&a.v6.sin6_addr) == 1);
	return a;
}

static union addr name(int fd) {
	union addr a = {0};
	socklen_t n = sizeof a;
	MUST(getsockname(fd, &a.sa, &n) == 0);
	return a;
}

static int same(const union addr *a, const union addr *b) { return !memcmp(a, b, size(a)); }

static int udp(int domain, int protocol) {
	int fd = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, protocol);
	MUST(fd >= 0);
	return fd;
}

static void set(int fd, int level, int name, int value) {
	CHECK(setsockopt(fd, level, name, &value, sizeof value) == 0, "set option %d %d", level, name);
}

static void is(int fd, int level, int name, int value) {
	int got = -1;
	socklen_t n = sizeof got;
	MUST(getsockopt(fd, level, name, &got, &n) == 0);
	CHECK(got == value, "option %d %d is %d, want %d", level, name, got, value);
}

// bound takes a port that nobody is given who asks for any: it is to be free
// at the restart.
static int bound(int domain, int protocol, const char *host) {
	static int port = -1;
	int fd = udp(domain, protocol);
	for (int tries = 0; tries < 1000; tries++) {
		port = (port < 0 ? getpid() * 37 : port + 1) % 27000;
		union addr a = at(domain, host, 5000 + port);
		if (bind(fd, &a.sa, size(&a)) == 0)
			return fd;
		MUST(errno == EADDRINUSE);
	}
	fail("no port");
}

static void say_to(int fd, const union addr *to, const char *text) {
	CHECK(sendto(fd, text, strlen(text), 0, &to->sa, size(to)) == (ssize_t)strlen(text), "send '%s'", text);
}

// hears reads one datagram: its text, its sender and, where asked for, its
// time to live and type of service.
static void hears(int fd, const char *text, const union addr *from, int ttl, int tos) {
	char data[100], oob[400];
	union addr who = {0};
	struct iovec iov = {data, sizeof data};
	struct msghdr m = {.msg_name = &who, .msg_namelen = sizeof who, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = oob, .msg_controllen = sizeof oob};
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
	CHECK(n == (ssize_t)strlen(text) && !memcmp(data, text, n), "got %zd bytes '%.*s', want '%s'", n, n > 0 ? (int)n : 0, data, text);
	CHECK(!from || same(from, &who), "'%s' comes from port %d, want %d", text, ntohs(who.v4.sin_port), from ? ntohs(from->v4.sin_port) : 0);
	int seen = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		int v = c->cmsg_len >= CMSG_LEN(4) ? *(int *)CMSG_DATA(c) : *CMSG_DATA(c);
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) {
			CHECK(v == ttl, "ttl %d, want %d", v, ttl);
			seen++;
		}
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			CHECK(v == tos, "tos %d, want %d", v, tos);
			seen++;
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) {
			CHECK(v == ttl, "hop limit %d, want %d", v, ttl);
			seen++;
		}
	}
	CHECK(!ttl || seen, "no time to live with '%s'", text);
}

static void nothing(int fd) {
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
	CHECK(n == -1 && errno == EAGAIN, "%zd bytes are left", n);
}

// pair is two sockets of a family, with something from one in the other.
struct pair {
	int a, b, stray;
	union addr name_a, name_b, name_stray;
	const char *empty;
};

static struct pair make_pair(int domain, int protocol, const char *host, int connected, const char *empty) {
	struct pair p = {.empty = empty};
	p.a = bound(domain, protocol, host);
	p.b = bound(domain, protocol, connected ? host : domain == AF_INET ? "0.0.0.0" : "::");
	p.name_a = name(p.a);
	p.name_b = name(p.b);
	union addr to = at(domain, host, ntohs(p.name_b.v4.sin_port));
	if (domain == AF_INET) {
		set(p.b, IPPROTO_IP, IP_RECVTTL, 1);
		set(p.b, IPPROTO_IP, IP_RECVTOS, 1);
	} else
		set(p.b, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
	say_to(p.a, &to, "plain");
	p.stray = bound(domain, protocol, host); // closed before the snapshot
	p.name_stray = name(p.stray);
	set(p.stray, domain == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, domain == AF_INET ? IP_TTL : IPV6_UNICAST_HOPS, 7);
	if (domain == AF_INET)
		set(p.stray, IPPROTO_IP, IP_TOS, 0x10);
	if (empty)
		say_to(p.a, &to, empty);
	say_to(p.stray, &to, "stray");
	if (empty)
		say_to(p.stray, &to, empty);
	MUST(close(p.stray) == 0);
	if (connected) {
		MUST(connect(p.b, &p.name_a.sa, size(&p.name_a)) == 0);
		MUST(connect(p.a, &to.sa, size(&to)) == 0);
		MUST(send(p.a, "last", 4, 0) == 4);
	}
	return p;
}

static void check_pair(struct pair *p, int connected) {
	union addr b = name(p->b), a = name(p->a);
	MUST(same(&b, &p->name_b) && same(&a, &p->name_a));
	hears(p->b, "plain", &p->name_a, 64, 0);
	if (p->empty)
		hears(p->b, p->empty, &p->name_a, 64, 0);
	hears(p->b, "stray", &p->name_stray, 7, 0x10);
	if (p->empty)
		hears(p->b, p->empty, &p->name_stray, 7, 0x10);
	if (connected) {
		hears(p->b, "last", &p->name_a, 64, 0);
		MUST(send(p->b, "answer", 6, 0) == 6);
		hears(p->a, "answer", NULL, 0, 0);
	}
	nothing(p->b);
}

// A dual socket gets datagrams of both families.
static int dual;
static union addr dual_from[2];

static void make_dual(void) {
	dual = bound(AF_INET6, 0, "::");
	set(dual, IPPROTO_IPV6, IPV6_TCLASS, 0x20);
	int port = ntohs(name(dual).v6.sin6_port);
	for (int i = 0; i < 2; i++) {
		int fd = i ? bound(AF_INET6, 0, "::1") : bound(AF_INET, 0, "127.0.0.1");
		union addr to = i ? at(AF_INET6, "::1", port) : at(AF_INET, "127.0.0.1", port);
		say_to(fd, &to, i ? "six" : "four");
		int from = ntohs(name(fd).v4.sin_port);
		dual_from[i] = at(AF_INET6, i ? "::1" : "::ffff:127.0.0.1", from);
		close(fd);
	}
}

static void check_dual(void) {
	is(dual, IPPROTO_IPV6, IPV6_TCLASS, 0x20);
	hears(dual, "four", &dual_from[0], 0, 0);
	hears(dual, "six", &dual_from[1], 0, 0);
	nothing(dual);
}

// Sockets that share a port each have their own.
static int shared[3], sharer;

static void make_shared(void) {
	sharer = bound(AF_INET, 0, "127.0.0.1");
	union addr from = name(sharer);
	int any = bound(AF_INET, 0, "127.0.0.1");
	union addr a = name(any);
	close(any);
	for (int i = 0; i < 3; i++) {
		shared[i] = udp(AF_INET, 0);
		set(shared[i], SOL_SOCKET, SO_REUSEPORT, 1);
		MUST(bind(shared[i], &a.sa, size(&a)) == 0);
	}
	for (int i = 0; i < 3; i++) {
		MUST(connect(shared[i], &from.sa, size(&from)) == 0);
		say_to(sharer, &a, (const char *[]){"0", "1", "2"}[i]);
		const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
		MUST(connect(shared[i], &nobody, sizeof nobody) == 0);
	}
}

static void check_shared(void) {
	union addr from = name(sharer);
	for (int i = 0; i < 3; i++) {
		is(shared[i], SOL_SOCKET, SO_REUSEPORT, 1);
		hears(shared[i], (const char *[]){"0", "1", "2"}[i], &from, 0, 0);
		nothing(shared[i]);
	}
}

// An error that nobody has read yet.
static int refused;

static void make_refused(void) {
	int there = bound(AF_INET, 0, "127.0.0.1");
	union addr a = name(there);
	refused = udp(AF_INET, 0);
	MUST(connect(refused, &a.sa, size(&a)) == 0);
	close(there);
	MUST(send(refused, "x", 1, 0) == 1);
	struct pollfd p = {.fd = refused};
	MUST(poll(&p, 1, 1000) == 1 && p.revents & POLLERR);
}

static void check_refused(void) {
	MUST(recv(refused, (char[1]){0}, 1, MSG_DONTWAIT) == -1 && errno == ECONNREFUSED);
	nothing(refused);
}

// Groups, with all sources, with some and without some.
static int member, member6;
static const char *const groups[] = {"239.77.1.1", "239.77.1.2", "239.77.1.3"};

static struct group_source_req source_req(int i, const char *source) {
	struct group_source_req r = {.gsr_interface = if_nametoindex("lo")};
	union addr g = at(AF_INET, groups[i], 0), s = at(AF_INET, source, 0);
	memcpy(&r.gsr_group, &g, sizeof g.v4);
	memcpy(&r.gsr_source, &s, sizeof s.v4);
	return r;
}

static void make_member(void) {
	member = bound(AF_INET, 0, "0.0.0.0");
	struct ip_mreqn all = {.imr_multiaddr = at(AF_INET, groups[0], 0).v4.sin_addr, .imr_ifindex = if_nametoindex("lo")};
	MUST(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &all, sizeof all) == 0);
	struct group_source_req r = source_req(1, "127.0.0.1");
	MUST(setsockopt(member, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &r, sizeof r) == 0);
	r = source_req(1, "127.0.0.9");
	MUST(setsockopt(member, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &r, sizeof r) == 0);
	all.imr_multiaddr = at(AF_INET, groups[2], 0).v4.sin_addr;
	MUST(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &all, sizeof all) == 0);
	r = source_req(2, "127.0.0.7");
	MUST(setsockopt(member, IPPROTO_IP, MCAST_BLOCK_SOURCE, &r, sizeof r) == 0);
	member6 = bound(AF_INET6, 0, "::");
	struct ipv6_mreq six = {.ipv6mr_multiaddr = at(AF_INET6, "ff15::77", 0).v6.sin6_addr, .ipv6mr_interface = if_nametoindex("lo")};
	MUST(setsockopt(member6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, sizeof six) == 0);
}

static void check_sources(int i, unsigned mode, unsigned n, const char *source) {
	char b[GROUP_FILTER_SIZE(4)] = {0};
	struct group_filter *f = (void *)b;
	union addr g = at(AF_INET, groups[i], 0);
	f->gf_interface = if_nametoindex("lo");
	memcpy(&f->gf_group, &g, sizeof g.v4);
	f->gf_numsrc = 4;
	socklen_t size = sizeof b;
	CHECK(getsockopt(member, IPPROTO_IP, MCAST_MSFILTER, b, &size) == 0, "group %d", i);
	CHECK(f->gf_fmode == mode && f->gf_numsrc == n, "group %d: mode %u, %u sources", i, f->gf_fmode, f->gf_numsrc);
	union addr s = {0};
	memcpy(&s, &f->gf_slist[0], sizeof s.v4);
	MUST(n == 0 || s.v4.sin_addr.s_addr == inet_addr(source));
}

static void check_member(void) {
	check_sources(0, MCAST_EXCLUDE, 0, NULL);
	check_sources(1, MCAST_INCLUDE, 2, "127.0.0.1");
	check_sources(2, MCAST_EXCLUDE, 1, "127.0.0.7");
	int from = bound(AF_INET, 0, "127.0.0.1");
	struct ip_mreqn lo = {.imr_ifindex = if_nametoindex("lo")};
	MUST(setsockopt(from, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo) == 0);
	union addr to = at(AF_INET, groups[1], ntohs(name(member).v4.sin_port));
	say_to(from, &to, "all");
	hears(member, "all", NULL, 0, 0);
	struct ip_mreqn all = {.imr_multiaddr = at(AF_INET, groups[0], 0).v4.sin_addr, .imr_address.s_addr = htonl(INADDR_LOOPBACK)};
	MUST(setsockopt(member, IPPROTO_IP, IP_DROP_MEMBERSHIP, &all, sizeof all) == 0);
	struct ipv6_mreq six = {.ipv6mr_multiaddr = at(AF_INET6, "ff15::77", 0).v6.sin6_addr, .ipv6mr_interface = if_nametoindex("lo")};
	MUST(setsockopt(member6, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &six, sizeof six) == 0);
}

// One datagram that is many (UDP_GRO), a filter, a half that is shut.
static int gro, filtered, shut, mute[2], foreign = -1;

static void make_rest(void) {
	gro = bound(AF_INET, 0, "127.0.0.1");
	set(gro, IPPROTO_UDP, UDP_GRO, 1);
	int from = bound(AF_INET, 0, "127.0.0.1");
	set(from, IPPROTO_UDP, UDP_SEGMENT, 4);
	union addr to = name(gro);
	say_to(from, &to, "onetwothr");
	close(from);

	filtered = bound(AF_INET, 0, "127.0.0.1");
	struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 10), BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog prog = {4, code};
	to = name(filtered);
	say_to(gro, &to, "no filter yet");
	MUST(setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog) == 0);
	set(filtered, SOL_SOCKET, SO_LOCK_FILTER, 1);
	say_to(gro, &to, "yes");
	say_to(gro, &to, "no");

	shut = bound(AF_INET, 0, "127.0.0.1");
	to = name(gro);
	MUST(connect(shut, &to.sa, size(&to)) == 0);
	MUST(shutdown(shut, SHUT_RD) == 0);
	for (int i = 0; i < 2; i++) {
		mute[i] = bound(i ? AF_INET6 : AF_INET, 0, i ? "::1" : "127.0.0.1");
		to = name(mute[i]);
		MUST(connect(mute[i], &to.sa, size(&to)) == 0);
		say_to(mute[i], &to, "the last");
		MUST(shutdown(mute[i], SHUT_WR) == 0);
	}

	int f = udp(AF_INET, 0), one = 1;
	if (setsockopt(f, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof one) == 0) {
		foreign = bound(AF_INET, 0, "0.0.0.0");
		union addr far = at(AF_INET, "198.51.100.7", 53);
		to = at(AF_INET, "127.0.0.1", ntohs(name(foreign).v4.sin_port));
		MUST(bind(f, &far.sa, size(&far)) == 0);
		say_to(f, &to, "from afar");
	}
	close(f);
}

static void check_rest(void) {
	is(gro, IPPROTO_UDP, UDP_GRO, 1);
	char data[20], oob[100];
	struct iovec iov = {data, sizeof data};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = oob, .msg_controllen = sizeof oob};
	ssize_t n = recvmsg(gro, &m, MSG_DONTWAIT);
	MUST(n == 9 && !memcmp(data, "onetwothr", 9));
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	MUST(c && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && *(int *)CMSG_DATA(c) == 4);
	nothing(gro);

	hears(filtered, "no filter yet", NULL, 0, 0);
	hears(filtered, "ye", NULL, 0, 0);
	union addr to = name(filtered);
	say_to(gro, &to, "yet");
	say_to(gro, &to, "not");
	hears(filtered, "ye", NULL, 0, 0);
	nothing(filtered);
	is(filtered, SOL_SOCKET, SO_LOCK_FILTER, 1);

	struct pollfd p = {.fd = shut, .events = POLLRDHUP};
	MUST(poll(&p, 1, 0) == 1 && p.revents & POLLRDHUP);
	for (int i = 0; i < 2; i++) {
		to = name(mute[i]);
		hears(mute[i], "the last", &to, 0, 0);
		MUST(send(mute[i], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	}
	if (foreign >= 0) {
		union addr far = at(AF_INET, "198.51.100.7", 53);
		hears(foreign, "from afar", &far, 0, 0);
	}
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	const char *empty = argc > 3 ? "" : NULL;
	int unbound = udp(AF_INET6, 0);
	set(unbound, SOL_SOCKET, SO_BROADCAST, 1);
	struct pair p[] = {
		make_pair(AF_INET, 0, "127.0.0.1", 0, empty),
		make_pair(AF_INET, 0, "127.0.0.1", 1, empty),
		make_pair(AF_INET6, 0, "::1", 0, empty),
		make_pair(AF_INET6, 0, "::1", 1, empty),
		make_pair(AF_INET, UDPLITE, "127.0.0.1", 1, empty),
	};
	make_dual();
	make_shared();
	make_refused();
	make_member();
	make_rest();
	ready_wait();
	is(unbound, SOL_SOCKET, SO_BROADCAST, 1);
	MUST(name(unbound).v6.sin6_port == 0);
	for (size_t i = 0; i < sizeof p / sizeof *p; i++)
		check_pair(&p[i], i == 1 || i >= 3);
	check_dual();
	check_shared();
	check_refused();
	check_member();
	check_rest();
	ok();
}
