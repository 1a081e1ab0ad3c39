// tcpbacklog: connections that nobody has accepted yet, some of which are closed
// again; and, by argument, what a snapshot must refuse.
#include "tcp.h"

// multipath is a connection of MPTCP.
static void multipath(void) {
	int listener = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), c = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), s;
	MUST(listener >= 0 && c >= 0);
	listen4(listener, 0, 1);
	connect_to(c, listener);
	MUST((s = accept(listener, NULL, NULL)) >= 0);
	says(c, "unread");
	nap_ms(50);
	ready_wait();
	hears(s, "unread"), says(s, "answer"), hears(c, "answer");
	ok();
}

// early, opening, multipath: see refused_test.go.
static void refused(const char *what) {
	int listener = server(AF_INET), c = sock(AF_INET), n = 0;
	struct link l;
	if (!strcmp(what, "multipath"))
		multipath();
	listen4(listener, 0, 0);
	connect_to(c, listener);
	if (!strcmp(what, "early"))
		says(c, "too early");
	if (!strcmp(what, "opening")) { // there is no room for it
		n = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		struct sockaddr_in a = own4(port_of(listener));
		MUST(connect(n, (struct sockaddr *)&a, sizeof a) == -1 && errno == EINPROGRESS);
	}
	ready_wait();
	l.s = accept(listener, NULL, NULL);
	MUST(l.s >= 0);
	if (n)
		MUST(accept(listener, NULL, NULL) >= 0);
	else
		hears(l.s, "too early");
	ok();
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	if (argc > 3)
		refused(argv[3]);
	enum { N = 4 };
	int listener = server(AF_INET), dual = server(AF_INET6), c[N], d, gone;
	struct name names[N];
	struct sockaddr_in6 any = own6(0, "::");
	set(dual, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	listen4(listener, 0, N);
	MUST(bind(dual, (struct sockaddr *)&any, sizeof any) == 0 && listen(dual, 3) == 0);
	for (int i = 0; i < N; i++) {
		connect_to(c[i] = sock(AF_INET), listener);
		names[i] = name_of(c[i], 0);
		nap_ms(30); // their order can be told
	}
	d = sock(AF_INET), gone = sock(AF_INET6);
	struct sockaddr_in four = own4(port_of(dual));
	MUST(connect(d, (struct sockaddr *)&four, sizeof four) == 0);
	connect_to(gone, dual);
	struct name dn = name_of(d, 0), gn = name_of(gone, 0);
	close(gone);
	shutdown(c[2], SHUT_WR);
	set(c[1], IPPROTO_TCP, TCP_NODELAY, 1);
	nap_ms(50);
	ready_wait();
	MUST(get(c[1], IPPROTO_TCP, TCP_NODELAY) == 1 && get(c[0], IPPROTO_TCP, TCP_NODELAY) == 0 && !(fcntl(c[0], F_GETFL) & O_NONBLOCK));
	for (int i = 0; i < N; i++) {
		struct link l = {.c = c[i], .s = accept(listener, NULL, NULL)};
		MUST(l.s >= 0);
		CHECK(!strcmp(name_of(l.s, 1).text, names[i].text), "connection %d comes from %s, not %s", i, name_of(l.s, 1).text, names[i].text);
		MUST(!strcmp(name_of(l.c, 0).text, names[i].text));
		says(l.s, "welcome"), hears(l.c, "welcome");
		if (i == 2)
			hears_end(l.s);
		else
			says(l.c, "thanks"), hears(l.s, "thanks");
	}
	int found = 0;
	for (int i = 0; i < 2; i++) { // in either order
		int s = accept(dual, NULL, NULL);
		MUST(s >= 0);
		if (!strcmp(name_of(s, 1).text, gn.text))
			found |= 1, hears_end(s);
		else if (strstr(name_of(s, 1).text, strrchr(dn.text, ' ') ? "127." : "?"))
			found |= 2, says(s, "mapped"), hears(d, "mapped");
	}
	CHECK(found == 3, "found %d", found);
	fcntl(listener, F_SETFL, O_NONBLOCK);
	MUST(accept(listener, NULL, NULL) == -1 && errno == EAGAIN);
	ok();
}
