// unixtraffic: bytes, packets and datagrams keep flowing both ways between
// processes and threads; none is lost, doubled or out of order. Some readers
// and writers have time-outs, which a snapshot must not use up. With "tcp" all
// goes over TCP.
#include "tcp.h"

static const struct timeval patience = {60, 0};
static volatile uint64_t *moved; // by each of the streams, and 1 when it has ended
static volatile int *done;

static void tcp_pair(int p[2]) {
	struct link l = a_link();
	p[0] = l.c, p[1] = l.s;
}

struct flow {
	int fd, type, seed, slot;
};

static uint8_t byte_at(int seed, uint64_t i) { return pattern(seed, i) >> 29; }

// sizes vary, so that queues have pieces of all kinds.
static size_t piece(int seed, uint64_t i) { return 1 + pattern(seed, i) % 6007; }

static void *sends(void *arg) {
	struct flow *f = arg;
	static __thread uint8_t buf[8192];
	uint64_t sum = 0;
	for (uint64_t n = 0; !*done; n++) {
		size_t size = piece(f->seed, n);
		for (size_t i = 0; i < size; i++)
			buf[i] = byte_at(f->seed, sum + i);
		for (size_t sent = 0; sent < size;) {
			ssize_t got = send(f->fd, buf + sent, size - sent, MSG_NOSIGNAL);
			CHECK(got > 0, "send of %d gave %zd", f->seed, got);
			sent += got;
		}
		sum += size;
		if (n % 64 == 0)
			nap_ms(1);
	}
	moved[f->slot] = sum + 1;
	MUST(shutdown(f->fd, SHUT_WR) == 0);
	return NULL;
}

static void *receives(void *arg) {
	struct flow *f = arg;
	static __thread uint8_t buf[8192];
	uint64_t sum = 0;
	for (uint64_t n = 0;; n++) {
		ssize_t got = recv(f->fd, buf, sizeof buf, 0);
		CHECK(got >= 0, "recv of %d gave %zd", f->seed, got);
		if (got == 0)
			break;
		CHECK(f->type == SOCK_STREAM || (size_t)got == piece(f->seed, n), "packet %lu of %d has %zd bytes", n, f->seed, got);
		for (ssize_t i = 0; i < got; i++)
			CHECK(buf[i] == byte_at(f->seed, sum + i), "byte %lu of %d", sum + i, f->seed);
		sum += got;
	}
	while (moved[f->slot] == 0)
		nap_ms(1);
	CHECK(sum + 1 == moved[f->slot], "%d: %lu bytes of %lu", f->seed, sum, moved[f->slot] - 1);
	return NULL;
}

// flows runs both directions of the sockets of one side.
static void flows(int side, int socks[4][2]) {
	pthread_t t[8];
	struct flow f[8];
	for (int i = 0; i < 4; i++) {
		int fd = socks[i][side], type;
		socklen_t n = sizeof type;
		close(socks[i][!side]);
		MUST(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0);
		if (i % 2) {
			MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
			MUST(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0);
		}
		f[2 * i] = (struct flow){fd, type, 2 * i + side, 2 * i + side};
		f[2 * i + 1] = (struct flow){fd, type, 2 * i + !side, 2 * i + !side};
		t[2 * i] = thread(sends, &f[2 * i]);
		t[2 * i + 1] = thread(receives, &f[2 * i + 1]);
	}
	for (int i = 0; i < 8; i++)
		MUST(pthread_join(t[i], NULL) == 0);
}

static int far_side(void *socks) {
	flows(1, socks);
	return 0;
}

static void *waits(void *unused UNUSED) {
	ready_wait();
	*done = 1;
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	moved = map(PAGE, RW, SHANON);
	done = map(PAGE, RW, SHANON);
	int socks[4][2], idle[2];
	for (int i = 0; argc > 3 && i < 4; i++)
		tcp_pair(socks[i]);
	if (argc == 3)
		MUST(!socketpair(AF_UNIX, SOCK_STREAM, 0, socks[0]) && !socketpair(AF_UNIX, SOCK_STREAM, 0, socks[1]));
	if (argc == 3)
		MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks[2]) && !socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks[3]));
	MUST(!socketpair(AF_UNIX, SOCK_STREAM, 0, idle));
	pid_t c = child(far_side, socks);
	pthread_t w = thread(waits, NULL);
	flows(0, socks);
	MUST(pthread_join(w, NULL) == 0);
	must_exit(c, 0);
	uint64_t all = 0;
	for (int i = 0; i < 8; i++)
		all += moved[i];
	char line[64];
	snprintf(line, sizeof line, "moved %lu MiB", all >> 20);
	say(line);
	ok();
}
