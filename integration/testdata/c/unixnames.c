// unixnames: sockets with names: listeners by path (absolute, relative to a
// directory, over-long, removed, replaced), abstract and autobound ones;
// connections through them, connections that wait to be accepted, and
// datagram sockets that send to each other.
#include "prog.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static char dir[100], back[1000];
static struct sockaddr_un addr;
static socklen_t len;

static int name(const char *fmt, const char *arg) {
	memset(&addr, 0, sizeof addr);
	addr.sun_family = AF_UNIX;
	int n = snprintf(addr.sun_path, sizeof addr.sun_path, fmt, arg);
	len = offsetof(struct sockaddr_un, sun_path) + n + 1;
	return n;
}
static void abstract(const char *suffix) { // our own, also when other copies run
	memset(&addr, 0, sizeof addr);
	addr.sun_family = AF_UNIX;
	int n = snprintf(addr.sun_path + 1, sizeof addr.sun_path - 1, "%s%c%s", dir, 0, suffix);
	len = offsetof(struct sockaddr_un, sun_path) + 1 + n;
}

static int sock(int type) {
	int fd = socket(AF_UNIX, type, 0);
	MUST(fd >= 0);
	return fd;
}
static int bound(int type) {
	int fd = sock(type);
	CHECK(bind(fd, (void *)&addr, len) == 0, "bind %s", addr.sun_path);
	return fd;
}
static int serving(int type, int backlog) {
	int fd = bound(type);
	MUST(listen(fd, backlog) == 0);
	return fd;
}
static int connected(int type) {
	int fd = sock(type);
	CHECK(connect(fd, (void *)&addr, len) == 0, "connect %s%s", addr.sun_path, addr.sun_path + 1);
	return fd;
}
static int accepted(int listener) {
	int fd = accept(listener, NULL, NULL);
	MUST(fd >= 0);
	return fd;
}

// at checks what a socket, or its peer, is called.
static void at(int line, const char *what, int (*get)(int, struct sockaddr *, socklen_t *), int fd) {
	struct sockaddr_un got;
	socklen_t n = sizeof got;
	CHECK(get(fd, (void *)&got, &n) == 0, "line %d: %s", line, what);
	CHECK(n == len && !memcmp(got.sun_path, addr.sun_path, n - offsetof(struct sockaddr_un, sun_path)),
		"line %d: %s is %u bytes %s%s, want %u bytes %s%s", line, what, n, got.sun_path, got.sun_path + 1, len, addr.sun_path, addr.sun_path + 1);
}
#define HERE(fd) at(__LINE__, "name", (void *)getsockname, fd)
#define THERE(fd) at(__LINE__, "peer", (void *)getpeername, fd)

static void nameless(int fd, int (*get)(int, struct sockaddr *, socklen_t *)) {
	struct sockaddr_un got;
	socklen_t n = sizeof got;
	MUST(get(fd, (void *)&got, &n) == 0 && n == 2);
}

static void peer_is(int fd, pid_t pid) {
	struct ucred c;
	socklen_t n = sizeof c;
	MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0);
	CHECK(c.pid == pid && c.uid == geteuid() && c.gid == getegid(), "peer is pid %d uid %d gid %d, not %d", c.pid, c.uid, c.gid, pid);
}

static void passes(int from, int to, const char *text) {
	MUST(send(from, text, strlen(text), 0) == (ssize_t)strlen(text));
	memset(back, 0, sizeof back);
	CHECK(recv(to, back, sizeof back, 0) == (ssize_t)strlen(text) && !strcmp(back, text), "got %s, not %s", back, text);
}

static volatile int *gate;

// client connects to the server by path, says something and waits.
static int client(void *server) {
	name("%s/s", dir);
	close(*(int *)server);
	int fd = connected(SOCK_STREAM), early = connected(SOCK_STREAM);
	MUST(write(fd, "hello", 5) == 5);
	gate_pass(gate);
	peer_is(fd, getppid());
	wait_go();
	THERE(fd);
	peer_is(fd, getppid());
	MUST(read(fd, back, 10) == 7 && !memcmp(back, "welcome", 7));
	MUST(write(early, "late", 4) == 4 && read(early, back, 10) == 5);
	int again = connected(SOCK_STREAM); // the name still leads to the server
	MUST(write(again, "again", 5) == 5 && read(again, back, 10) == 0);
	return 0;
}

// floods sends more to a bound socket than its queue takes.
static void *floods(void *fd) {
	for (int i = 0; i < 30; i++)
		MUST(send(*(int *)fd, &i, sizeof i, 0) == sizeof i);
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	gate = new_gate();
	snprintf(dir, sizeof dir, "%s", go_path); // names are short: a path may have 108 bytes
	*strrchr(dir, '/') = 0;
	name("%s/s", dir);
	int server = serving(SOCK_STREAM, 5);
	MUST(chmod(addr.sun_path, 0741) == 0);
	pid_t c = child(client, &server);
	gate_wait(gate, 1);
	int conn = accepted(server);
	peer_is(conn, c);
	HERE(conn);
	nameless(conn, (void *)getpeername);
	int noname[2] = {sock(SOCK_SEQPACKET), sock(SOCK_DGRAM)};

	MUST(chdir(dir) == 0);
	name("%s", "r");
	int relative = serving(SOCK_SEQPACKET, 3), rclient = connected(SOCK_SEQPACKET), rconn = accepted(relative);
	MUST(mkdir("d", 0700) == 0 || errno == EEXIST);
	name("%s/d/../x", dir);
	int removed = serving(SOCK_STREAM, 2), wclient = connected(SOCK_STREAM);
	MUST(unlink(addr.sun_path) == 0 && shutdown(wclient, SHUT_WR) == 0);
	name("%s/p", dir);
	int old = serving(SOCK_STREAM, 2), oclient = connected(SOCK_STREAM), oconn = accepted(old);
	MUST(unlink(addr.sun_path) == 0);
	int new = serving(SOCK_STREAM, 2);
	char lost[109];
	memset(lost, 'z', sizeof lost);
	lost[108 - name("%s/", dir)] = 0;
	name("%s/", dir);
	memcpy(addr.sun_path + strlen(addr.sun_path), lost, strlen(lost));
	len = sizeof addr; // all 108 bytes, no zero byte at the end
	MUST(memchr(addr.sun_path, 0, 108) == NULL);
	int longest = bound(SOCK_DGRAM);

	abstract("stream");
	int aserver = serving(SOCK_STREAM, 4), aclient = connected(SOCK_STREAM), aconn = accepted(aserver);
	MUST(write(aclient, "to be read", 10) == 10 && write(aconn, "back", 4) == 4);
	abstract("gone");
	int tmp = serving(SOCK_STREAM, 1), gclient = connected(SOCK_STREAM), gconn = accepted(tmp);
	close(tmp);
	MUST(write(gconn, "bye", 3) == 3);
	close(gconn);
	abstract("client");
	int named = bound(SOCK_STREAM);
	abstract("stream");
	MUST(connect(named, (void *)&addr, len) == 0);
	int nconn = accepted(aserver);
	struct sockaddr_un autoname = {0};
	socklen_t autolen = sizeof autoname;
	int autob = sock(SOCK_DGRAM);
	MUST(bind(autob, (void *)&(sa_family_t){AF_UNIX}, 2) == 0 && getsockname(autob, (void *)&autoname, &autolen) == 0 && autolen == 8);

	name("%s/f", dir);
	int flooded = bound(SOCK_DGRAM), flooder = connected(SOCK_DGRAM);
	pthread_t flood = thread(floods, &flooder);
	name("%s/l", dir);
	int logger = bound(SOCK_DGRAM), logged = connected(SOCK_DGRAM);
	MUST(send(logged, "line", 4, 0) == 4);
	name("%s/n", dir);
	int sender = bound(SOCK_DGRAM);
	name("%s/l", dir);
	MUST(sendto(sender, "named", 5, 0, (void *)&addr, len) == 5 && sendto(autob, "auto", 4, 0, (void *)&addr, len) == 4);
	name("%s/y", dir);
	int stray = bound(SOCK_DGRAM);
	name("%s/l", dir);
	MUST(sendto(stray, "stray", 5, 0, (void *)&addr, len) == 5);
	close(stray);
	ready_wait();

	name("%s/s", dir);
	struct stat st;
	MUST(stat(addr.sun_path, &st) == 0 && S_ISSOCK(st.st_mode));
	CHECK((st.st_mode & 07777) == 0741 && st.st_uid == geteuid(), "mode %o of %d", st.st_mode, st.st_uid);
	HERE(server);
	HERE(conn);
	peer_is(conn, c);
	peer_is(server, getpid());
	nameless(conn, (void *)getpeername);
	MUST(read(conn, back, 10) == 5 && !memcmp(back, "hello", 5) && write(conn, "welcome", 7) == 7);
	int early = accepted(server);
	HERE(early);
	peer_is(early, c);
	MUST(read(early, back, 10) == 4 && write(early, "early", 5) == 5);
	int again = accepted(server);
	peer_is(again, c);
	MUST(read(again, back, 10) == 5 && close(again) == 0);
	name("%s", "r");
	HERE(relative), HERE(rconn), THERE(rclient);
	passes(rclient, rconn, "through"), passes(rconn, rclient, "and back");
	int r2 = connected(SOCK_SEQPACKET), r2conn = accepted(relative);
	passes(r2, r2conn, "new");
	name("%s/d/../x", dir);
	MUST(access(addr.sun_path, F_OK) == -1);
	HERE(removed), THERE(wclient);
	int wconn = accepted(removed);
	HERE(wconn);
	MUST(read(wconn, back, 1) == 0);
	passes(wconn, wclient, "half");
	name("%s/p", dir);
	HERE(old), HERE(new), HERE(oconn), THERE(oclient);
	passes(oclient, oconn, "old");
	int nclient = connected(SOCK_STREAM), new_conn = accepted(new);
	passes(nclient, new_conn, "new");
	name("%s/", dir);
	memcpy(addr.sun_path + strlen(addr.sun_path), lost, strlen(lost));
	len = sizeof addr + 1;
	HERE(longest);
	len = sizeof addr;
	int lsender = connected(SOCK_DGRAM);
	passes(lsender, longest, "long");
	abstract("stream");
	HERE(aserver), HERE(aconn), THERE(aclient), THERE(named), HERE(nconn);
	MUST(read(aconn, back, 100) == 10 && read(aclient, back, 100) == 4);
	passes(named, nconn, "named"), passes(nconn, named, "client");
	int a2 = connected(SOCK_STREAM), a2conn = accepted(aserver);
	passes(a2, a2conn, "abstract");
	abstract("client");
	HERE(named), THERE(nconn);
	abstract("gone");
	THERE(gclient);
	MUST(read(gclient, back, 10) == 3 && read(gclient, back, 10) == 0);
	addr = autoname, len = autolen;
	HERE(autob);
	name("%s/l", dir);
	HERE(logger), THERE(logged);
	struct sockaddr_un from;
	socklen_t n = sizeof from;
	MUST(recvfrom(logger, back, 100, 0, (void *)&from, &n) == 4 && !memcmp(back, "line", 4) && n == 0);
	n = sizeof from;
	MUST(recvfrom(logger, back, 100, 0, (void *)&from, &n) == 5 && !memcmp(back, "named", 5) && strstr(from.sun_path, "/n"));
	n = sizeof from;
	MUST(recvfrom(logger, back, 100, 0, (void *)&from, &n) == 4 && !memcmp(back, "auto", 4) && n == autolen && !memcmp(&from, &autoname, n));
	n = sizeof from;
	MUST(recvfrom(logger, back, 100, 0, (void *)&from, &n) == 5 && !memcmp(back, "stray", 5) && strstr(from.sun_path, "/y"));
	passes(logged, logger, "another line");
	MUST(bind(noname[1], (void *)&(sa_family_t){AF_UNIX}, 2) == 0 && listen(noname[0], 1) == -1);
	for (int i = 0, got; i < 30; i++)
		CHECK(recv(flooded, &got, sizeof got, 0) == sizeof got && got == i, "message %d is %d", i, got);
	MUST(pthread_join(flood, NULL) == 0);
	must_exit(c, 0);
	ok();
}
