// ptyqueues: what is under way in ptys is kept: lines and half a line that
// were typed, raw input, output that nobody has read, stopped output, packet
// mode, an exclusive slave, a closed slave, a closed master.
#include "prog.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

struct pty {
	int m, s;
};
static struct pty new_pty(void) {
	struct pty p;
	char name[64];
	p.m = posix_openpt(O_RDWR | O_NOCTTY);
	MUST(p.m >= 0 && grantpt(p.m) == 0 && unlockpt(p.m) == 0 && ptsname_r(p.m, name, sizeof name) == 0);
	p.s = open(name, O_RDWR | O_NOCTTY);
	MUST(p.s >= 0);
	return p;
}
static struct pty raw_pty(void) {
	struct pty p = new_pty();
	struct termios t;
	MUST(tcgetattr(p.s, &t) == 0);
	cfmakeraw(&t);
	MUST(tcsetattr(p.s, TCSANOW, &t) == 0);
	return p;
}
static void put(int fd, const char *text) { MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text)); }
static void get(int fd, const char *want, size_t n) {
	char buf[300] = {0};
	size_t got = 0;
	while (got < n) {
		ssize_t r = read(fd, buf + got, n - got);
		CHECK(r > 0, "read gives %zd after %zu of %zu bytes: %s", r, got, n, want);
		got += r;
	}
	CHECK(!memcmp(buf, want, n), "read %s, want %s", buf, want);
}
// line reads what one read gives.
static void line(int fd, const char *want) {
	char buf[300] = {0};
	ssize_t n = read(fd, buf, sizeof buf);
	CHECK(n == (ssize_t)strlen(want) && !memcmp(buf, want, n), "read %zd: %s, want %s", n, buf, want);
}
static int ready_for(int fd, int events) {
	struct pollfd p = {fd, events, 0};
	MUST(poll(&p, 1, 0) >= 0);
	return p.revents;
}
static struct pty full;
static int writes(void *unused UNUSED) { // more than a pty has room for
	char block[1000];
	for (int i = 0; i < 100; i++) {
		memset(block, 'a' + i % 26, sizeof block);
		for (size_t n = 0; n < sizeof block;) { // a stop makes the kernel return early
			ssize_t w = write(full.s, block + n, sizeof block - n);
			MUST(w > 0);
			n += w;
		}
	}
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	struct pty canon = new_pty(), raw = raw_pty(), packet = raw_pty(), stopped = new_pty(), halted = new_pty(), closed = raw_pty(), gone = new_pty(), excl = new_pty();
	full = raw_pty();
	put(canon.m, "one\ntwo\x04hal");
	for (int n = 0; n < 11; nap_ms(1)) // bytes of echo
		MUST(ioctl(canon.m, FIONREAD, &n) == 0);
	put(canon.s, "prompt> ");
	put(raw.m, "\x03\r\x04 raw");
	put(raw.s, "out\n");
	MUST(ioctl(packet.m, TIOCPKT, &(int){1}) == 0);
	put(packet.s, "packet");
	put(stopped.s, "x");
	put(stopped.m, "\x13");
	while (ready_for(stopped.s, POLLOUT) & POLLOUT)
		nap_ms(1);
	MUST(tcflow(halted.s, TCOOFF) == 0 && ioctl(excl.s, TIOCEXCL) == 0);
	put(closed.s, "last words");
	close(closed.s);
	close(gone.m);
	char buf[16];
	MUST(read(gone.s, buf, 1) == 0 && (ready_for(gone.s, POLLIN) & POLLHUP));
	struct pty after = new_pty(); // has the number that the one that is gone had
	int peer = ioctl(raw.m, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	MUST(peer >= 0);
	pid_t c = child(writes, NULL);
	nap_ms(20);
	ready_wait();

	put(canon.m, "\x7flf\n");
	line(canon.s, "one\n"), line(canon.s, "two"), line(canon.s, "half\n");
	get(canon.m, "one\r\ntwohalprompt> \b \blf\r\n", 26); // with the echo
	get(raw.s, "\x03\r\x04 raw", 7);
	get(raw.m, "out\n", 4);
	MUST(read(packet.m, buf, sizeof buf) == 7 && !memcmp(buf, "\0packet", 7));

	get(stopped.m, "x", 1);
	MUST(!(ready_for(stopped.s, POLLOUT) & POLLOUT));
	put(stopped.m, "\x11");
	while (!(ready_for(stopped.s, POLLOUT) & POLLOUT))
		nap_ms(1);
	put(halted.m, "\x11");
	nap_ms(5);
	MUST(!(ready_for(halted.s, POLLOUT) & POLLOUT) && tcflow(halted.s, TCOON) == 0 && (ready_for(halted.s, POLLOUT) & POLLOUT));

	get(closed.m, "last words", 10);
	MUST(read(closed.m, buf, 1) == -1 && errno == EIO);
	MUST(read(gone.s, buf, 1) == 0 && write(gone.s, "x", 1) == -1 && errno == EIO && (ready_for(gone.s, POLLIN) & POLLHUP));
	put(after.m, "x\n"), line(after.s, "x\n");
	int on = 0;
	MUST(ioctl(excl.s, TIOCGEXCL, &on) == 0 && on);
	char name[64], block[1000], want[1000];
	MUST(ptsname_r(excl.m, name, sizeof name) == 0);
	MUST(geteuid() == 0 || (open(name, O_RDWR | O_NOCTTY) == -1 && errno == EBUSY));
	for (int i = 0; i < 100; i++) {
		memset(want, 'a' + i % 26, sizeof want);
		for (size_t n = 0; n < sizeof block;) {
			ssize_t r = read(full.m, block + n, sizeof block - n);
			MUST(r > 0);
			n += r;
		}
		CHECK(!memcmp(block, want, sizeof want), "block %d of the output is not as it was written", i);
	}
	must_exit(c, 0);
	MUST(fcntl(peer, F_GETFD) == FD_CLOEXEC);
	ok();
}
