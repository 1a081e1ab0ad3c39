// tcp.h is what the programs with TCP sockets share. Each run of a program has
// an address of its own, so that none meets another's ports.
#ifndef TCP_H
#define TCP_H
#include "prog.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

UNUSED static struct sockaddr_in own4(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	static pid_t first;
	first = first ? first : getpid();
	a.sin_addr.s_addr = htonl(0x7f000000 | ((first & 0x3fffff) << 2) | 1);
	return a;
}

UNUSED static struct sockaddr_in6 own6(int port, const char *text) {
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	if (text) {
		MUST(inet_pton(AF_INET6, text, &a.sin6_addr) == 1);
	} else { // the other one, mapped
		struct sockaddr_in four = own4(port);
		a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
		memcpy(&a.sin6_addr.s6_addr[12], &four.sin_addr, 4);
	}
	return a;
}

// get and set an int.
UNUSED static int get(int fd, int level, int option) {
	int v = -77;
	socklen_t n = sizeof v;
	CHECK(getsockopt(fd, level, option, &v, &n) == 0, "get option %d of level %d", option, level);
	return v;
}
UNUSED static void set(int fd, int level, int option, int v) {
	CHECK(setsockopt(fd, level, option, &v, sizeof v) == 0, "set option %d of level %d to %d", option, level, v);
}

UNUSED static int sock(int domain) {
	int fd = socket(domain, SOCK_STREAM, 0);
	MUST(fd >= 0);
	return fd;
}

// server makes a socket to listen on, as servers do: restarted soon, it gets
// its port again.
UNUSED static int server(int domain) {
	int fd = sock(domain);
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	return fd;
}

// A name is what getsockname or getpeername gives, as text.
struct name { char text[80]; };
UNUSED static struct name name_of(int fd, int peer) {
	struct sockaddr_in6 a = {0};
	socklen_t n = sizeof a;
	struct name s = {"-"};
	char host[64] = "";
	if ((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&a, &n)) {
		MUST(errno == ENOTCONN);
		return s;
	}
	struct sockaddr_in *four = (void *)&a;
	if (a.sin6_family == AF_INET6)
		inet_ntop(AF_INET6, &a.sin6_addr, host, sizeof host);
	else
		inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
	snprintf(s.text, sizeof s.text, "%d %s %d %d", a.sin6_family, host, ntohs(a.sin6_port), n);
	return s;
}
UNUSED static int port_of(int fd) {
	struct sockaddr_in6 a = {0};
	socklen_t n = sizeof a;
	MUST(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	return ntohs(a.sin6_port);
}

UNUSED static void listen4(int fd, int port, int backlog) {
	struct sockaddr_in a = own4(port);
	MUST(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, backlog) == 0);
}
UNUSED static void connect_to(int fd, int listener) {
	struct sockaddr_in6 a;
	socklen_t n = sizeof a;
	MUST(getsockname(listener, (struct sockaddr *)&a, &n) == 0);
	if (get(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET && port_of(fd) == 0) {
		struct sockaddr_in from = own4(0);
		set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1); // as connect does
		MUST(bind(fd, (struct sockaddr *)&from, sizeof from) == 0);
		set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0);
	}
	MUST(connect(fd, (struct sockaddr *)&a, n) == 0);
}

// A link is both ends of a connection: c connected, s was accepted.
struct link { int c, s; struct name names[4]; };
UNUSED static void note(struct link *l) {
	for (int i = 0; i < 4; i++)
		l->names[i] = name_of(i < 2 ? l->c : l->s, i & 1);
}
UNUSED static struct link through(int listener, int domain) {
	struct link l;
	connect_to(l.c = sock(domain), listener);
	MUST((l.s = accept(listener, NULL, NULL)) >= 0);
	note(&l);
	return l;
}
UNUSED static struct link a_link(void) {
	int door = server(AF_INET);
	listen4(door, 0, 5);
	struct link l = through(door, AF_INET);
	close(door);
	return l;
}
#define SAME_NAMES(l) same_names_at(__LINE__, l)
UNUSED static void same_names_at(int line, const struct link *l) {
	for (int i = 0; i < 4; i++) {
		struct name now = name_of(i < 2 ? l->c : l->s, i & 1);
		CHECK(!strcmp(now.text, l->names[i].text), "line %d: name %d is %s, was %s", line, i, now.text, l->names[i].text);
	}
}

// says sends text over fd, and hears checks that it comes out of another.
#define says(fd, text) says_at(__LINE__, fd, text)
UNUSED static void says_at(int line, int fd, const char *text) {
	ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);
	CHECK(n == (ssize_t)strlen(text), "line %d: send gave %zd", line, n);
}
#define hears(fd, text) hears_at(__LINE__, fd, text)
UNUSED static void hears_at(int line, int fd, const char *text) {
	char buf[200];
	size_t want = strlen(text), got = 0;
	while (got < want) {
		ssize_t n = recv(fd, buf + got, want - got, 0);
		CHECK(n > 0, "line %d: recv gave %zd after %zu bytes of %s", line, n, got, text);
		got += n;
	}
	CHECK(!memcmp(buf, text, want), "line %d: got %.*s, not %s", line, (int)got, buf, text);
}
#define hears_end(fd) hears_no(__LINE__, fd, 1)
#define hears_nothing(fd) hears_no(__LINE__, fd, 0)
UNUSED static void hears_no(int line, int fd, int end) {
	ssize_t n = recv(fd, (char[1]){0}, 1, end ? 0 : MSG_DONTWAIT);
	CHECK(end ? n == 0 : n == -1 && errno == EAGAIN, "line %d: recv gave %zd", line, n);
}
#endif
