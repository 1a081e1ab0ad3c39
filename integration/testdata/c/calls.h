// calls.h connects to somebody outside the tree: unix:PATH, packets:PATH,
// datagrams:PATH or tcp:IP:PORT; @ begins an abstract name.
#ifndef CALLS_H
#define CALLS_H
#include "prog.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static int to_unix(int type, const char *path) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] != '@');
	strcpy(a.sun_path, path);
	if (path[0] == '@')
		a.sun_path[0] = 0;
	int fd = socket(AF_UNIX, type, 0);
	MUST(fd >= 0);
	CHECK(connect(fd, (void *)&a, len) == 0, "connect %s", path);
	return fd;
}

static int to_tcp(char *where) {
	char *port = strrchr(where, ':');
	*port++ = 0;
	int fd;
	if (strchr(where, ':')) {
		struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
		MUST(inet_pton(AF_INET6, where, &a.sin6_addr) == 1 && (fd = socket(AF_INET6, SOCK_STREAM, 0)) >= 0);
		CHECK(connect(fd, (void *)&a, sizeof a) == 0, "connect %s", where);
		return fd;
	}
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	MUST(inet_pton(AF_INET, where, &a.sin_addr) == 1 && (fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
	CHECK(connect(fd, (void *)&a, sizeof a) == 0, "connect %s", where);
	return fd;
}

static int call(char *arg) {
	char *where = strchr(arg, ':') + 1;
	if (!strncmp(arg, "unix:", 5))
		return to_unix(SOCK_STREAM, where);
	if (!strncmp(arg, "packets:", 8))
		return to_unix(SOCK_SEQPACKET, where);
	if (!strncmp(arg, "datagrams:", 10))
		return to_unix(SOCK_DGRAM, where);
	return to_tcp(strdup(where));
}
#endif
