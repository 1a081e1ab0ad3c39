// unixmsgs: what comes along with data: credentials of senders, dead ones too,
// and descriptors in flight that nobody has otherwise.
#include "prog.h"
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static char back[1000];
static int creds[2], seq[2];
static volatile pid_t *pids;

static void pair(int type, int p[2]) { MUST(socketpair(AF_UNIX, type, 0, p) == 0); }

static void set(int fd, int option, int v) { MUST(setsockopt(fd, SOL_SOCKET, option, &v, sizeof v) == 0); }

// give sends data and descriptors, and closes these.
static void give(int over, const char *data, int n, const int *fds) {
	char buf[CMSG_SPACE(16 * sizeof(int))] = {0};
	struct iovec iov = {(void *)data, strlen(data)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	MUST(sendmsg(over, &m, 0) == (ssize_t)strlen(data));
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

// take receives up to size bytes, which must be data, and gives the number of
// descriptors that came; *who is the sender, or 0.
static int take_at(int line, int over, size_t size, const char *data, int *fds, pid_t *who) {
	char buf[400] = {0};
	struct iovec iov = {back, size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof buf};
	ssize_t got = recvmsg(over, &m, MSG_DONTWAIT);
	CHECK(got == (ssize_t)strlen(data) && !memcmp(back, data, got), "line %d: got %zd bytes %.*s, not %s", line, got, (int)(got > 0 ? got : 0), back, data);
	int n = 0;
	if (who)
		*who = -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_type == SCM_RIGHTS) {
			n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		}
		if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred u;
			memcpy(&u, CMSG_DATA(c), sizeof u);
			CHECK(who, "line %d: credentials nobody asked for", line);
			*who = u.pid;
			CHECK(u.pid == 0 || (u.uid == geteuid() && u.gid == getegid()), "line %d: uid %d gid %d", line, u.uid, u.gid);
		}
	}
	return n;
}
#define TAKE(over, data, fds) take_at(__LINE__, over, sizeof back, data, fds, NULL)
static void from_at(int line, int over, const char *data, pid_t want) {
	pid_t who;
	take_at(line, over, sizeof back, data, NULL, &who);
	CHECK(who == want, "line %d: from %d, not %d", line, who, want);
}
#define FROM(over, data, who) from_at(__LINE__, over, data, who)

static int dying(void *unused UNUSED) {
	pids[0] = getpid();
	return write(creds[0], "dead", 4) == 4 && send(seq[0], "dead too", 8, 0) == 8 ? 0 : 1;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	pids = map(4096, RW, SHANON);
	int plain[2], over[2], p[2], sp[2], self[2], dg[2], later[2], fds[16], both[2];
	pair(SOCK_STREAM, creds), pair(SOCK_SEQPACKET, seq), pair(SOCK_STREAM, plain), pair(SOCK_STREAM, over), pair(SOCK_STREAM, sp);
	pair(SOCK_STREAM, self), pair(SOCK_DGRAM, dg), pair(SOCK_STREAM, later), pair(SOCK_STREAM, both);

	MUST(write(creds[0], "before", 6) == 6); // nobody wants to know yet
	set(creds[1], SO_PASSCRED, 1), set(seq[1], SO_PASSCRED, 1);
	MUST(write(creds[0], "mine", 4) == 4);
	must_exit(child(dying, NULL), 0);
	MUST(write(creds[0], "mi", 2) == 2 && write(creds[0], "ne", 2) == 2 && send(seq[0], "mine", 4, 0) == 4);
	set(later[0], SO_PASSCRED, 1); // the sender's will: noted, and shown to who asks later
	MUST(write(later[0], "noted", 5) == 5);

	char path[] = "/tmp/unixmsgs-XXXXXX";
	int file = mkstemp(path);
	MUST(file >= 0 && unlink(path) == 0 && write(file, "contents", 8) == 8 && lseek(file, 3, SEEK_SET) == 3 && !pipe(p));
	MUST(write(over[0], "plain", 5) == 5);
	give(over[0], "first", 1, (int[]){file});
	give(over[0], "second", 2, (int[]){eventfd(41, 0), p[1]});
	MUST(write(over[0], "tail", 4) == 4);
	give(over[1], "sock", 1, (int[]){sp[1]}); // its peer is here
	give(self[0], "self", 1, (int[]){self[0]}); // both ends are elsewhere than in a table
	give(dg[0], "datagram", 1, (int[]){open("/dev/null", O_RDWR)});
	give(dg[0], "next", 2, (int[]){both[0], dup(creds[0])});
	MUST(write(sp[0], "", 0) == 0);
	ready_wait();

	MUST(read(plain[1], back, 0) == 0);
	FROM(creds[1], "before", 0);
	FROM(creds[1], "mine", getpid());
	FROM(creds[1], "dead", pids[0]);
	FROM(creds[1], "mine", getpid());
	FROM(seq[1], "dead too", pids[0]);
	FROM(seq[1], "mine", getpid());
	set(later[1], SO_PASSCRED, 1);
	FROM(later[1], "noted", getpid());
	MUST(write(creds[0], "now", 3) == 3);
	FROM(creds[1], "now", getpid());

	MUST(take_at(__LINE__, over[1], 5, "plain", fds, NULL) == 0);
	MUST(take_at(__LINE__, over[1], 2, "fi", fds, NULL) == 1);
	MUST(read(fds[0], back, 100) == 5 && !memcmp(back, "tents", 5));
	MUST(TAKE(over[1], "rstsecond", fds) == 2);
	uint64_t v;
	MUST(read(fds[0], &v, 8) == 8 && v == 41);
	MUST(write(fds[1], "through", 7) == 7 && read(p[0], back, 100) == 7 && close(fds[1]) == 0 && read(p[0], back, 100) == 0);
	MUST(TAKE(over[1], "tail", fds) == 0);
	MUST(TAKE(over[0], "sock", fds) == 1 && write(fds[0], "hello", 5) == 5 && read(sp[0], back, 100) == 5);
	MUST(write(sp[0], "answer", 6) == 6 && read(fds[0], back, 100) == 6);
	MUST(TAKE(self[1], "self", fds) == 1 && write(self[1], "found", 5) == 5 && read(fds[0], back, 100) == 5 && close(fds[0]) == 0 && read(self[1], back, 1) == 0);
	MUST(TAKE(dg[1], "datagram", fds) == 1 && write(fds[0], "x", 1) == 1);
	MUST(TAKE(dg[1], "next", fds) == 2 && write(fds[0], "both", 4) == 4 && read(both[1], back, 100) == 4);
	MUST(write(fds[1], "again", 5) == 5);
	FROM(creds[1], "again", getpid());
	ok();
}
