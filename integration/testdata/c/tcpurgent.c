// tcpurgent: urgent data in queues, inline or not, read or not, at either end of
// what was received.
#include "tcp.h"
#include <linux/sockios.h>

static void urges(int fd, char byte) { MUST(send(fd, &byte, 1, MSG_OOB) == 1); }

// no_urgent: none to be read by MSG_OOB.
static void no_urgent(int fd) { MUST(recv(fd, (char[1]){0}, 1, MSG_OOB) == -1 && errno == EINVAL); }
static void urged(int fd, char want) {
	char byte = 0;
	CHECK(recv(fd, &byte, 1, MSG_OOB) == 1 && byte == want, "urgent: got %c, not %c", byte, want);
	no_urgent(fd);
}
static int at_mark(int fd) {
	int at = -1;
	MUST(ioctl(fd, SIOCATMARK, &at) == 0);
	return at;
}
static int tells(int fd) {
	struct pollfd p = {.fd = fd, .events = POLLPRI};
	MUST(poll(&p, 1, 0) >= 0);
	return (p.revents & POLLPRI) != 0;
}

// stops checks that a read ends after text, at the mark.
#define stops(fd, text) stops_at(__LINE__, fd, text)
static void stops_at(int line, int fd, const char *text) {
	char buf[100];
	ssize_t n = *text ? recv(fd, buf, sizeof buf, 0) : 0;
	CHECK(n == (ssize_t)strlen(text) && !memcmp(buf, text, n), "line %d: got %.*s, not %s", line, (int)n, buf, text);
	CHECK(at_mark(fd) == 1, "line %d: not at the mark", line);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	struct link plain = a_link(), in_line = a_link(), taken = a_link(), first = a_link(), last = a_link(), left = a_link(), closed = a_link(),
		twice = a_link(), ahead = a_link(), passed = a_link(), turned = a_link();
	struct link *all[] = {&plain, &in_line, &taken, &turned, &ahead};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		says(all[i]->c, "before"), urges(all[i]->c, '!'), says(all[i]->c, "after");
	set(in_line.s, SOL_SOCKET, SO_OOBINLINE, 1);
	set(ahead.s, SOL_SOCKET, SO_PEEK_OFF, 2);
	urged(taken.s, '!'), urged(turned.s, '!');
	urges(first.c, '1'), says(first.c, "after");
	says(last.c, "before"), urges(last.c, '9');
	says(left.c, "before"), urges(left.c, '8'), urged(left.s, '8');
	says(closed.c, "before"), urges(closed.c, '7'), says(closed.c, "end"), close(closed.c);
	says(twice.c, "a"), urges(twice.c, '1'), says(twice.c, "b"), urges(twice.c, '2'), says(twice.c, "c");
	says(passed.c, "before"), urges(passed.c, '6'), says(passed.c, "after");
	stops(passed.s, "before"), hears(passed.s, "aft");
	nap_ms(50);
	ready_wait();

	MUST(tells(plain.s) && tells(in_line.s) && !tells(taken.s) && tells(last.s) && !tells(left.s) && !tells(passed.s));
	MUST(!at_mark(plain.s) && !at_mark(taken.s) && at_mark(first.s));
	stops(plain.s, "before"), urged(plain.s, '!'), hears(plain.s, "after"), hears_nothing(plain.s);
	MUST(get(in_line.s, SOL_SOCKET, SO_OOBINLINE) == 1 && get(plain.s, SOL_SOCKET, SO_OOBINLINE) == 0);
	no_urgent(in_line.s), stops(in_line.s, "before"), hears(in_line.s, "!after"), hears_nothing(in_line.s);
	no_urgent(taken.s), stops(taken.s, "before"), hears(taken.s, "after"), hears_nothing(taken.s);
	set(turned.s, SOL_SOCKET, SO_OOBINLINE, 1), stops(turned.s, "before"), hears(turned.s, "!after");
	urged(first.s, '1'), stops(first.s, ""), hears(first.s, "after");
	stops(last.s, "before"), urged(last.s, '9'), hears_nothing(last.s);
	no_urgent(left.s), stops(left.s, "before"), hears_nothing(left.s);
	stops(closed.s, "before"), urged(closed.s, '7'), hears(closed.s, "end"), hears_end(closed.s);
	stops(twice.s, "a1b"), urged(twice.s, '2'), hears(twice.s, "c");
	char buf[9];
	MUST(recv(ahead.s, buf, 9, MSG_PEEK) == 4 && !memcmp(buf, "fore", 4));
	hears(ahead.s, "before"), urged(ahead.s, '!'), hears(ahead.s, "after");
	hears(passed.s, "er"), no_urgent(passed.s);
	urges(plain.c, '?'), says(plain.c, "more"), nap_ms(10), urged(plain.s, '?'), hears(plain.s, "more");
	urges(plain.s, '?'), nap_ms(10), urged(plain.c, '?');
	ok();
}
