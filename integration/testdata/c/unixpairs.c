// unixpairs: socketpairs of all types: queues with boundaries, half-closed and
// closed ends, options, a blocked reader and a blocked writer.
#include "prog.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static char big[150000], back[200000];
static int far[2], late[2], stuck[2];

static int flags(int fd) { return fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ASYNC); }

static int number(int fd, int option) {
	int v = -77;
	socklen_t n = sizeof v;
	CHECK(getsockopt(fd, SOL_SOCKET, option, &v, &n) == 0, "option %d", option);
	return v;
}
static void set(int fd, int option, int v) { MUST(setsockopt(fd, SOL_SOCKET, option, &v, sizeof v) == 0); }

static void pair(int type, int p[2]) { MUST(socketpair(AF_UNIX, type, 0, p) == 0); }

#define gets_all(fd, want, size) gets_all_at(__LINE__, fd, want, size)
static void gets_all_at(int line, int fd, const char *want, size_t size) {
	for (size_t got = 0; got < size;) {
		ssize_t n = recv(fd, back + got, size - got, 0);
		CHECK(n > 0, "line %d: recv gave %zd after %zu of %zu", line, n, got, size);
		got += n;
	}
	CHECK(!memcmp(back, want, size), "line %d: got %.20s", line, back);
}

// far_end is another process: a peer with the creator's credentials.
static int far_end(void *unused UNUSED) {
	close(far[1]);
	MUST(write(far[0], "from the child", 14) == 14);
	struct ucred c;
	socklen_t n = sizeof c;
	MUST(getsockopt(far[0], SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 && c.pid == getppid() && c.uid == geteuid() && c.gid == getegid());
	wait_go();
	gets_all(far[0], "to the child", 12);
	MUST(getsockopt(far[0], SOL_SOCKET, SO_PEERCRED, &c, &n) == 0);
	CHECK(c.pid == getppid() && c.uid == geteuid() && c.gid == getegid(), "peer is pid %d uid %d gid %d", c.pid, c.uid, c.gid);
	MUST(write(far[0], "after", 5) == 5);
	return recv(far[0], back, 1, 0) == 0 ? 0 : 1;
}

static void *reader(void *unused UNUSED) {
	char c[8];
	MUST(recv(late[0], c, 8, 0) == 4 && !memcmp(c, "late", 4));
	return NULL;
}

static void *writer(void *unused UNUSED) {
	size_t sent = 0;
	while (sent < sizeof big) {
		ssize_t n = send(stuck[1], big + sent, sizeof big - sent, 0);
		CHECK(n > 0, "send gave %zd", n);
		sent += n;
	}
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	fill(big, sizeof big, 7);
	int a[2], full[2], half[2], closed[2], reset[2], dgram[2], seq[2], opts[2], peeked[2], orphan[2], lone, rd[2], seqend[2];
	pair(SOCK_STREAM, a), pair(SOCK_STREAM | SOCK_NONBLOCK, full), pair(SOCK_STREAM, half), pair(SOCK_STREAM, closed);
	pair(SOCK_STREAM, reset), pair(SOCK_DGRAM, dgram), pair(SOCK_SEQPACKET | SOCK_CLOEXEC, seq), pair(SOCK_STREAM, opts);
	pair(SOCK_STREAM, peeked), pair(SOCK_DGRAM, orphan), pair(SOCK_STREAM, far), pair(SOCK_STREAM, late), pair(SOCK_STREAM, stuck);
	pair(SOCK_STREAM, rd), pair(SOCK_SEQPACKET, seqend);
	MUST((lone = socket(AF_UNIX, SOCK_SEQPACKET, 0)) >= 0);

	MUST(write(a[0], "left to right", 13) == 13 && write(a[1], "right", 5) == 5 && write(a[1], " to left", 8) == 8);
	MUST(read(a[1], back, 5) == 5); // a part is read
	size_t filled = 0;
	for (ssize_t n; (n = write(full[0], big + filled % 8192, 777)) > 0;)
		MUST((filled += n) < sizeof back);
	MUST(write(half[0], "last words", 10) == 10 && shutdown(half[0], SHUT_WR) == 0);
	MUST(write(half[1], "answer", 6) == 6);
	MUST(write(rd[1], "unread", 6) == 6 && shutdown(rd[0], SHUT_RD) == 0);
	MUST(write(closed[0], "farewell", 8) == 8 && close(closed[0]) == 0);
	MUST(write(reset[0], "tail", 4) == 4 && write(reset[1], "never read", 10) == 10 && close(reset[0]) == 0);
	MUST(send(dgram[0], "one", 3, 0) == 3 && send(dgram[0], "three", 5, 0) == 5 && send(dgram[0], big, 70000, 0) == 70000);
	MUST(send(dgram[1], "back", 4, 0) == 4);
	MUST(send(seq[1], "packet", 6, 0) == 6 && send(seq[1], "x", 1, 0) == 1 && shutdown(seq[1], SHUT_WR) == 0);
	MUST(send(seqend[1], "gone", 4, 0) == 4 && close(seqend[1]) == 0);
	MUST(send(orphan[0], "orphaned", 8, 0) == 8 && close(orphan[0]) == 0);
	struct timeval tv = {3, 500000}, tv2;
	struct linger lg = {1, 7}, lg2;
	MUST(setsockopt(opts[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0 && setsockopt(opts[0], SOL_SOCKET, SO_LINGER, &lg, sizeof lg) == 0);
	set(opts[0], SO_SNDBUF, 10000), set(opts[0], SO_RCVBUF, 20000), set(opts[1], SO_RCVLOWAT, 3), set(opts[1], SO_REUSEADDR, 1);
	set(opts[1], SO_PASSCRED, 1), set(lone, SO_PRIORITY, 3);
	int snd = number(opts[0], SO_SNDBUF), rcv = number(opts[0], SO_RCVBUF), plain = number(a[0], SO_SNDBUF);
	MUST(write(peeked[0], "0123456789", 10) == 10);
	set(peeked[1], SO_PEEK_OFF, 0);
	MUST(recv(peeked[1], back, 4, MSG_PEEK) == 4 && number(peeked[1], SO_PEEK_OFF) == 4);
	MUST(fcntl(half[1], F_SETFL, O_NONBLOCK) == 0);
	pid_t f = child(far_end, NULL);
	close(far[0]);
	gets_all(far[1], "from the child", 14);
	MUST(write(far[1], "to the child", 12) == 12);
	set(stuck[1], SO_SNDBUF, 5000);
	MUST(setsockopt(late[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){100, 0}, sizeof tv) == 0); // a stop would be EINTR
	pthread_t r = thread(reader, NULL), w = thread(writer, NULL);
	while (number(stuck[1], SO_SNDBUF) == 0 || ioctl(stuck[0], FIONREAD, &lg2.l_onoff) || lg2.l_onoff < 4000)
		nap_ms(1);
	nap_ms(20);
	ready_wait();

	gets_all(a[0], "right to left", 13);
	gets_all(a[1], "to right", 8); // "left " was read
	MUST(recv(a[0], back, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	MUST(write(a[0], "more", 4) == 4);
	gets_all(a[1], "more", 4);
	for (size_t got = 0; got < filled;) {
		ssize_t n = read(full[1], back, 777);
		CHECK(n == 777, "full: read %zd after %zu of %zu", n, got, filled);
		MUST(!memcmp(back, big + got % 8192, n));
		got += n;
	}
	MUST(read(full[1], back, 1) == -1 && errno == EAGAIN && flags(full[1]) == O_NONBLOCK && flags(a[0]) == 0);
	gets_all(half[1], "last words", 10);
	MUST(read(half[1], back, 1) == 0 && write(half[0], "x", 1) == -1 && errno == EPIPE);
	MUST(flags(half[1]) == O_NONBLOCK && write(half[1], "!", 1) == 1);
	gets_all(half[0], "answer!", 7);
	MUST(write(rd[1], "x", 1) == -1 && errno == EPIPE);
	gets_all(rd[0], "unread", 6);
	MUST(read(rd[0], back, 1) == 0 && write(rd[0], "still", 5) == 5);
	gets_all(rd[1], "still", 5);
	gets_all(closed[1], "farewell", 8);
	MUST(read(closed[1], back, 1) == 0 && write(closed[1], "x", 1) == -1 && errno == EPIPE);
	struct pollfd pf = {reset[1], POLLIN | POLLOUT, 0};
	MUST(poll(&pf, 1, 0) == 1 && pf.revents & POLLERR && pf.revents & POLLHUP);
	gets_all(reset[1], "tail", 4);
	MUST(read(reset[1], back, 1) == -1 && errno == ECONNRESET);
	MUST(read(reset[1], back, 1) == 0);
	MUST(recv(dgram[1], back, 100, 0) == 3 && recv(dgram[1], back, 100, 0) == 5 && !memcmp(back, "three", 5));
	MUST(recv(dgram[1], back, sizeof back, 0) == 70000 && !memcmp(back, big, 70000));
	MUST(recv(dgram[1], back, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN && recv(dgram[0], back, 100, 0) == 4);
	MUST(recv(seq[0], back, 100, 0) == 6 && recv(seq[0], back, 100, 0) == 1 && recv(seq[0], back, 100, 0) == 0);
	MUST(send(seq[0], "this way", 8, 0) == 8 && recv(seq[1], back, 100, 0) == 8 && fcntl(seq[0], F_GETFD) == FD_CLOEXEC);
	MUST(recv(seqend[0], back, 100, 0) == 4 && recv(seqend[0], back, 100, 0) == 0 && send(seqend[0], "x", 1, 0) == -1 && errno == EPIPE);
	MUST(recv(orphan[1], back, 100, 0) == 8 && recv(orphan[1], back, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	MUST(send(orphan[1], "x", 1, 0) == -1 && errno == ECONNREFUSED);
	socklen_t n = sizeof tv2;
	MUST(getsockopt(opts[0], SOL_SOCKET, SO_RCVTIMEO, &tv2, &n) == 0 && tv2.tv_sec == 3 && tv2.tv_usec / 10000 == 50);
	n = sizeof lg2;
	MUST(getsockopt(opts[0], SOL_SOCKET, SO_LINGER, &lg2, &n) == 0 && lg2.l_onoff && lg2.l_linger == 7);
	CHECK(number(opts[0], SO_SNDBUF) == snd && number(opts[0], SO_RCVBUF) == rcv, "buffers %d %d, want %d %d",
		number(opts[0], SO_SNDBUF), number(opts[0], SO_RCVBUF), snd, rcv);
	MUST(number(opts[0], 72 /* SO_BUF_LOCK */) == 3 && number(a[0], 72) == 0 && number(a[0], SO_SNDBUF) == plain && number(full[0], 72) == 0 &&
		number(full[0], SO_SNDBUF) == plain);
	MUST(number(opts[1], SO_RCVLOWAT) == 3 && number(opts[1], SO_REUSEADDR) == 1 && number(opts[1], SO_PASSCRED) == 1 && number(opts[0], SO_PASSCRED) == 0);
	MUST(number(lone, SO_PRIORITY) == 3 && send(lone, "x", 1, 0) == -1 && errno == ENOTCONN);
	CHECK(number(peeked[1], SO_PEEK_OFF) == 4 && number(a[0], SO_PEEK_OFF) == -1, "peek offset %d", number(peeked[1], SO_PEEK_OFF));
	MUST(recv(peeked[1], back, 100, MSG_PEEK) == 6 && !memcmp(back, "456789", 6));
	gets_all(peeked[1], "0123456789", 10);
	MUST(write(late[1], "late", 4) == 4 && pthread_join(r, NULL) == 0);
	gets_all(stuck[0], big, sizeof big);
	MUST(pthread_join(w, NULL) == 0);
	gets_all(far[1], "after", 5);
	close(far[1]);
	must_exit(f, 0);
	ok();
}
