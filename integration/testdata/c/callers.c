// callers: connections to somebody outside the tree, one for each argument:
// unix:PATH, packets:PATH, datagrams:PATH or tcp:IP:PORT; @ begins an abstract
// name. Whoever serves them says "hello" to each that connects and sends back
// what it gets. The go file says what must have become of them: alive, kept
// (alive, and "meanwhile" was said to them three times), reset or closed; datagrams arrive, or not.
#include "calls.h"

enum { MOST = 16 };

static struct {
	const char *what;
	int fd, datagrams;
} calls[MOST];

static void hears(int i, const char *text) {
	char buf[16] = "";
	size_t want = strlen(text);
	for (size_t n = 0; n < want;) {
		ssize_t got = read(calls[i].fd, buf + n, want - n);
		CHECK(got > 0, "%s: read gave %zd after %s", calls[i].what, got, buf);
		n += got;
	}
	CHECK(!strcmp(buf, text), "%s says %s", calls[i].what, buf);
}

static void alive(int i, int times) {
	for (int n = 0; n < times; n++) {
		MUST(write(calls[i].fd, "ping", 4) == 4);
		hears(i, "ping");
	}
}

static void check(int i, const char *fate) {
	char buf[16];
	int fd = calls[i].fd;
	if (calls[i].datagrams) {
		if (!strcmp(fate, "alive"))
			CHECK(send(fd, "ping", 4, MSG_NOSIGNAL) == 4, "%s", calls[i].what);
		else
			CHECK(send(fd, "ping", 4, MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED, "%s", calls[i].what);
		return;
	}
	int errors_first = !strncmp(calls[i].what, "packets:", 8); // Linux net/core/datagram.c:__skb_try_recv_datagram
	if (errors_first && !strcmp(fate, "reset"))
		CHECK(read(fd, buf, 1) < 0 && errno == ECONNRESET, "%s", calls[i].what);
	hears(i, "hello");
	if (!strcmp(fate, "alive")) {
		alive(i, 3);
	} else if (!strcmp(fate, "kept")) {
		for (int n = 0; n < 3; n++)
			hears(i, "meanwhile");
		alive(i, 3);
	} else if (!strcmp(fate, "reset")) {
		int n = read(fd, buf, 1);
		CHECK(errors_first ? n == 0 : n < 0 && errno == ECONNRESET, "%s: read gave %d", calls[i].what, n);
		CHECK(send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "%s", calls[i].what);
	} else {
		MUST(!strcmp(fate, "closed"));
		CHECK(read(fd, buf, 1) == 0 && read(fd, buf, 1) == 0, "%s", calls[i].what);
	}
	close(fd);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	for (int i = 3; i < argc; i++) {
		calls[i - 3].what = argv[i];
		calls[i - 3].datagrams = !strncmp(argv[i], "datagrams:", 10);
		calls[i - 3].fd = call(argv[i]);
	}
	nap_ms(100); // the hello is there
	ready_wait();
	char streams[16], datagrams[16];
	for (;; nap_ms(10)) {
		FILE *f = fopen(go_path, "r");
		int n = f ? fscanf(f, "%15s %15s\n", streams, datagrams) : 0;
		if (f)
			fclose(f);
		if (n == 2)
			break;
	}
	for (int i = 0; i < argc - 3; i++)
		check(i, calls[i].datagrams ? datagrams : streams);
	ok();
}
