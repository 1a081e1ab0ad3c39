// raw: raw sockets, bound, connected and with their own options, and ping
// sockets where the system lets this user have them.
#include "prog.h"
#include <arpa/inet.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static int raw(int domain, int protocol) {
	int fd = socket(domain, SOCK_RAW | SOCK_CLOEXEC, protocol);
	MUST(fd >= 0);
	return fd;
}

static struct sockaddr_in v4(const char *host, int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	MUST(inet_pton(AF_INET, host, &a.sin_addr) == 1);
	return a;
}

static struct sockaddr_in name(int fd) {
	struct sockaddr_in a = {0};
	socklen_t n = sizeof a;
	MUST(getsockname(fd, (void *)&a, &n) == 0);
	return a;
}

static void hears(int fd, size_t header, const char *text) {
	char got[200];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK(poll(&p, 1, 5000) == 1, "no '%s'", text);
	ssize_t n = recv(fd, got, sizeof got, 0);
	CHECK(n == (ssize_t)(header + strlen(text)) && !memcmp(got + header, text, strlen(text)), "got %zd bytes, want '%s'", n, text);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int protocol = 150 + getpid() % 100; // nobody's
	int bound = raw(AF_INET, protocol), connected = raw(AF_INET, protocol), icmp = raw(AF_INET, IPPROTO_ICMP), made = raw(AF_INET, IPPROTO_RAW);
	int six = raw(AF_INET6, protocol), offset = 2, off = 0, ttl = 9;
	struct sockaddr_in two = v4("127.0.0.2", 0), three = v4("127.0.0.3", 0);
	MUST(bind(bound, (void *)&two, sizeof two) == 0);
	MUST(bind(connected, (void *)&three, sizeof three) == 0);
	MUST(connect(connected, (void *)&two, sizeof two) == 0);
	MUST(setsockopt(connected, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl) == 0);
	struct icmp_filter none = {0xffffffff}, got = {0};
	MUST(setsockopt(icmp, SOL_RAW, ICMP_FILTER, &none, sizeof none) == 0);
	MUST(setsockopt(six, IPPROTO_IPV6, IPV6_CHECKSUM, &offset, sizeof offset) == 0);
	int ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	struct sockaddr_in ident = v4("127.0.0.1", 1 + getpid() % 60000);
	MUST(ping < 0 || bind(ping, (void *)&ident, sizeof ident) == 0);
	ready_wait();
	MUST(name(bound).sin_addr.s_addr == two.sin_addr.s_addr && name(connected).sin_addr.s_addr == three.sin_addr.s_addr);
	socklen_t n = sizeof got;
	MUST(getsockopt(icmp, SOL_RAW, ICMP_FILTER, &got, &n) == 0 && got.data == 0xffffffff);
	n = sizeof offset;
	MUST(getsockopt(six, IPPROTO_IPV6, IPV6_CHECKSUM, &offset, &n) == 0 && offset == 2);
	MUST(getsockopt(made, IPPROTO_IP, IP_HDRINCL, &off, &n) == 0 && off == 1);
	MUST(getsockopt(bound, IPPROTO_IP, IP_HDRINCL, &off, &n) == 0 && off == 0);
	MUST(send(connected, "to two", 6, 0) == 6);
	hears(bound, 20, "to two");
	MUST(sendto(bound, "back", 4, 0, (void *)&three, sizeof three) == 4);
	hears(connected, 20, "back");
	if (ping >= 0) {
		const char echo[] = "\10\0\0\0\0\0\0\1hello";
		MUST(name(ping).sin_port == ident.sin_port);
		MUST(sendto(ping, echo, 13, 0, (void *)&ident, sizeof ident) == 13);
		hears(ping, 8, "hello");
	}
	ok();
}
