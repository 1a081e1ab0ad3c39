// tcplinks: connections with both ends in the tree: queues, full ones too, ends
// that are closed or half closed, and what has not been sent yet.
#include "tcp.h"

static char big[1 << 16], back[1 << 16];
static struct link far, lates, stuck, small;

// pump writes n bytes of a pattern, and drain reads and checks them.
static void pump(int fd, size_t n) {
	for (size_t sent = 0; sent < n;) {
		size_t at = sent % sizeof big, want = sizeof big - at < n - sent ? sizeof big - at : n - sent;
		ssize_t got = send(fd, big + at, want, MSG_NOSIGNAL);
		CHECK(got > 0, "send gave %zd after %zu of %zu", got, sent, n);
		sent += got;
	}
}
static void drain(int fd, size_t n) {
	for (size_t got = 0; got < n;) {
		size_t at = got % sizeof big, want = sizeof big - at < n - got ? sizeof big - at : n - got;
		ssize_t r = recv(fd, back, want, 0);
		CHECK(r > 0, "recv gave %zd after %zu of %zu", r, got, n);
		CHECK(!memcmp(back, big + at, r), "wrong bytes after %zu of %zu", got, n);
		got += r;
	}
}
// top fills an end as far as it goes, and gives how much that was.
static size_t top(int fd, int piece) {
	size_t sent = 0;
	for (int still = 0; still < 20; nap_ms(2), still++)
		for (ssize_t n; (n = send(fd, big + sent % sizeof big, (size_t)piece < sizeof big - sent % sizeof big ? (size_t)piece : sizeof big - sent % sizeof big, MSG_DONTWAIT)) > 0; still = 0)
			sent += n;
	return sent;
}

enum { MUCH = 20000000 }; // each snapshot lets some of it go on
static void *writer(void *fd) {
	pump((int)(intptr_t)fd, MUCH);
	return NULL;
}
static void *reader(void *unused UNUSED) {
	hears(lates.s, "late");
	return NULL;
}

// far_end is another process with the other end.
static int far_end(void *unused UNUSED) {
	close(far.s);
	says(far.c, "from the child");
	wait_go();
	hears(far.c, "to the child");
	says(far.c, "after");
	return recv(far.c, back, 1, 0) == 0 ? 0 : 1;
}

static struct link over(int domain, const char *host) {
	int door = server(AF_INET6);
	struct sockaddr_in6 a = own6(0, host);
	set(door, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	MUST(bind(door, (struct sockaddr *)&a, sizeof a) == 0 && listen(door, 5) == 0);
	if (domain == AF_INET6) {
		struct link l = through(door, AF_INET6);
		close(door);
		return l;
	}
	struct link l = {.c = sock(AF_INET)};
	struct sockaddr_in four = own4(port_of(door));
	MUST(connect(l.c, (struct sockaddr *)&four, sizeof four) == 0 && (l.s = accept(door, NULL, NULL)) >= 0);
	note(&l);
	close(door);
	return l;
}

static int gone_link(void *listener) { // its other end belongs to a process that is gone
	int fd = sock(AF_INET);
	connect_to(fd, (int)(intptr_t)listener);
	says(fd, "last words");
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	fill(big, sizeof big, 7);
	struct link plain = a_link(), both = a_link(), half = a_link(), half2 = a_link(), closed = a_link(), cork = a_link(), more = a_link(), over_ = a_link(), mute = a_link();
	struct link full = a_link(), six = over(AF_INET6, "::1"), mapped = over(AF_INET, NULL), dual = over(AF_INET6, "::"), noblock = a_link(), opts = a_link(), ahead = a_link();
	far = a_link(), lates = a_link(), stuck = a_link();
	set(stuck.c, SOL_SOCKET, SO_SNDBUF, 32 * KiB), set(stuck.s, SOL_SOCKET, SO_SNDBUF, 32 * KiB);
	int listener = server(AF_INET), self = sock(AF_INET);
	listen4(listener, 0, 9);
	struct link held = through(listener, AF_INET); // the listener stays
	struct sockaddr_in a = own4(0);
	MUST(bind(self, (struct sockaddr *)&a, sizeof a) == 0);
	connect_to(self, self); // both ends are one
	struct name me[2] = {name_of(self, 0), name_of(self, 1)};
	says(self, "to myself");

	int tiny = server(AF_INET);
	set(tiny, SOL_SOCKET, SO_RCVBUF, 3000), set(tiny, SOL_SOCKET, SO_SNDBUF, 5000);
	listen4(tiny, 0, 1);
	small.c = sock(AF_INET);
	set(small.c, SOL_SOCKET, SO_RCVBUF, 3000), set(small.c, SOL_SOCKET, SO_SNDBUF, 5000);
	connect_to(small.c, tiny);
	MUST((small.s = accept(tiny, NULL, NULL)) >= 0);
	note(&small);
	close(tiny);

	says(plain.c, "client to server"), says(plain.s, "server"), says(plain.s, " to client");
	hears(plain.s, "client");
	says(half.c, "last"), shutdown(half.c, SHUT_WR);
	says(half2.s, "last too"), shutdown(half2.s, SHUT_WR), says(half2.c, "answer");
	says(both.c, "c says"), says(both.s, "s says"), shutdown(both.c, SHUT_WR), shutdown(both.s, SHUT_WR); // over, and unread
	says(closed.c, "closed by c"), close(closed.c);
	set(cork.c, IPPROTO_TCP, TCP_CORK, 1), says(cork.c, "held back");
	MUST(send(more.c, "part ", 5, MSG_MORE) == 5);
	shutdown(mute.c, SHUT_RD);
	says(over_.c, "x"), hears(over_.s, "x"), shutdown(over_.c, SHUT_WR), hears_end(over_.s), shutdown(over_.s, SHUT_WR), hears_end(over_.c);
	fcntl(noblock.s, F_SETFL, O_NONBLOCK);
	set(opts.s, IPPROTO_TCP, TCP_NODELAY, 1), set(opts.s, SOL_SOCKET, SO_KEEPALIVE, 1), set(opts.s, IPPROTO_TCP, TCP_KEEPIDLE, 33), set(opts.c, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	says(ahead.c, "look ahead"), set(ahead.s, SOL_SOCKET, SO_PEEK_OFF, 5);
	says(six.c, "six"), says(mapped.s, "mapped"), says(dual.c, "dual");
	must_exit(child(gone_link, (void *)(intptr_t)listener), 0);
	int orphan = accept(listener, NULL, NULL);
	MUST(orphan >= 0);
	struct name orphans[2] = {name_of(orphan, 0), name_of(orphan, 1)};
	size_t up = top(full.c, 1000), down = top(full.s, 50000), sup = top(small.c, 100), sdown = top(small.s, 1000);
	MUST(up > 100000 && down > 100000 && sup > 5000 && sdown > 5000);
	thread(writer, (void *)(intptr_t)stuck.c), thread(writer, (void *)(intptr_t)stuck.s);
	pthread_t late = thread(reader, NULL);
	pid_t kid = child(far_end, NULL);
	close(far.c);
	hears(far.s, "from the child");
	int low = get(small.s, SOL_SOCKET, SO_RCVLOWAT), size = get(small.s, SOL_SOCKET, SO_RCVBUF), clamp = get(small.s, IPPROTO_TCP, TCP_WINDOW_CLAMP);
	nap_ms(50);
	ready_wait();

	struct link *all[] = {&plain, &half2, &cork, &more, &full, &six, &mapped, &dual, &noblock, &opts, &held, &stuck, &small, &mute, &ahead};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		SAME_NAMES(all[i]);
	MUST(!strcmp(name_of(half.c, 0).text, half.names[0].text) && !strcmp(name_of(half.s, 1).text, half.names[3].text));
	MUST(!strcmp(name_of(orphan, 0).text, orphans[0].text) && !strcmp(name_of(orphan, 1).text, orphans[1].text));
	MUST(!strcmp(name_of(self, 0).text, me[0].text) && !strcmp(name_of(self, 1).text, me[1].text));
	CHECK(get(small.s, SOL_SOCKET, SO_RCVLOWAT) == low && get(small.s, SOL_SOCKET, SO_RCVBUF) == size, "low %d, was %d; buffer %d, was %d",
		get(small.s, SOL_SOCKET, SO_RCVLOWAT), low, get(small.s, SOL_SOCKET, SO_RCVBUF), size);
	CHECK(went() && get(small.s, IPPROTO_TCP, TCP_WINDOW_CLAMP) <= clamp, "window clamp %d was %d", get(small.s, IPPROTO_TCP, TCP_WINDOW_CLAMP), clamp);
	MUST(fcntl(noblock.s, F_GETFL) & O_NONBLOCK && !(fcntl(noblock.c, F_GETFL) & O_NONBLOCK));
	MUST(get(opts.s, IPPROTO_TCP, TCP_NODELAY) == 1 && get(opts.s, SOL_SOCKET, SO_KEEPALIVE) == 1 && get(opts.s, IPPROTO_TCP, TCP_KEEPIDLE) == 33);
	MUST(get(opts.c, IPPROTO_TCP, TCP_USER_TIMEOUT) == 5000 && get(opts.c, IPPROTO_TCP, TCP_NODELAY) == 0 && get(cork.c, IPPROTO_TCP, TCP_NODELAY) == 0);
	says(far.s, "to the child");
	hears(far.s, "after");
	says(lates.c, "late");
	MUST(pthread_join(late, NULL) == 0);
	close(far.s);
	must_exit(kid, 0);
	hears(plain.s, " to server"), hears(plain.c, "server to client"), hears_nothing(plain.c), hears_nothing(plain.s);
	says(plain.c, "more"), hears(plain.s, "more");
	hears(half.s, "last"), hears_end(half.s), says(half.s, "still open"), hears(half.c, "still open"), hears_nothing(half.c);
	hears(half2.c, "last too"), hears_end(half2.c), hears(half2.s, "answer"), hears_nothing(half2.s), says(half2.c, "!"), hears(half2.s, "!");
	hears(both.s, "c says"), hears_end(both.s), hears(both.c, "s says"), hears_end(both.c);
	hears(closed.s, "closed by c"), hears_end(closed.s), hears_end(over_.c), hears_end(over_.s);
	MUST(send(over_.c, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	MUST(get(cork.c, IPPROTO_TCP, TCP_CORK) == 1);
	says(cork.c, " no more"), set(cork.c, IPPROTO_TCP, TCP_CORK, 0), hears(cork.s, "held back no more");
	says(more.c, "and rest"), hears(more.s, "part and rest");
	hears_end(mute.c), says(mute.c, "loud"), hears(mute.s, "loud");
	hears(six.s, "six"), hears(mapped.c, "mapped"), hears(dual.s, "dual");
	hears(orphan, "last words"), hears_end(orphan);
	hears(self, "to myself"), hears_nothing(self), says(self, "again"), hears(self, "again");
	MUST(recv(ahead.s, back, 100, MSG_PEEK) == 5 && !memcmp(back, "ahead", 5) && get(ahead.s, SOL_SOCKET, SO_PEEK_OFF) == 10);
	hears(ahead.s, "look ahead");
	drain(full.s, up), drain(full.c, down), drain(small.s, sup), drain(small.c, sdown);
	hears_nothing(full.s), hears_nothing(full.c), hears_nothing(small.s), hears_nothing(small.c);
	drain(stuck.s, MUCH), drain(stuck.c, MUCH);
	close(held.c), hears_end(held.s);
	struct link l = through(listener, AF_INET);
	says(l.c, "new"), hears(l.s, "new");
	ok();
}
