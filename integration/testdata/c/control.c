// control.c: a connection to the supervisor survives, with half a line, an
// answer that was not read, a registration, and many bytes on their way.
#include "prog.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef struct {
	int fd;
	char buf[1 << 16];
	size_t len;
} line_reader;

static int dial(void) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const char *path = getenv("SUPERVISE_SOCKET");
	CHECK(path != NULL, "no $SUPERVISE_SOCKET");
	MUST(strlen(path) < sizeof a.sun_path);
	strcpy(a.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(fd >= 0);
	int tries = 0;
	while (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		CHECK((errno == ECONNREFUSED || errno == ENOENT) && tries++ < 500, "connect to %s", path);
		nap_ms(20);
	}
	return fd;
}

static void put(int fd, const char *s) {
	size_t n = strlen(s);
	CHECK(write(fd, s, n) == (ssize_t)n, "write %.40s", s);
}

// get reads one line, without its end.
static const char *get(line_reader *r, char *line, size_t size) {
	for (;;) {
		char *end = memchr(r->buf, '\n', r->len);
		if (end) {
			size_t n = end - r->buf;
			MUST(n < size);
			memcpy(line, r->buf, n);
			line[n] = 0;
			r->len -= n + 1;
			memmove(r->buf, end + 1, r->len);
			return line;
		}
		MUST(r->len < sizeof r->buf);
		ssize_t n = read(r->fd, r->buf + r->len, sizeof r->buf - r->len);
		CHECK(n > 0, "read gave %zd, after %zu bytes", n, r->len);
		r->len += n;
	}
}

static void want(line_reader *r, const char *begin, const char *has) {
	static char line[1 << 16];
	get(r, line, sizeof line);
	// Events come in between, as many as there were snapshots and restarts.
	while (strncmp(line, "{\"event\":", 9) == 0) {
		if (strstr(line, "before-freeze")) {
			char reply[100];
			int seq = 0;
			const char *at = strstr(line, "\"seq\":");
			MUST(at && sscanf(at, "\"seq\":%d", &seq) == 1);
			snprintf(reply, sizeof reply, "{\"reply\":%d}\n", seq);
			put(r->fd, reply);
		}
		get(r, line, sizeof line);
	}
	CHECK(strncmp(line, begin, strlen(begin)) == 0, "got %.200s, want %s", line, begin);
	CHECK(strstr(line, has) != NULL, "got %.200s, want %s in it", line, has);
}

static line_reader half, unread, quiet, again;

#define MANY 300

int main(int argc, char **argv) {
	prog_init(argc, argv);
	char line[200];

	half.fd = dial();
	put(half.fd, "{\"id\":1,\"request\":\"hello\",\"version\":1}\n");
	want(&half, "{\"id\":1,", "\"job\":\"");
	put(half.fd, "{\"id\":2,\"requ");

	// Answers that are not read; they fit into the queue.
	unread.fd = dial();
	for (int i = 0; i < MANY; i++) {
		snprintf(line, sizeof line, "{\"id\":%d,\"request\":\"hello\",\"version\":1}\n", i);
		put(unread.fd, line);
	}
	struct pollfd p = {.fd = unread.fd, .events = POLLIN};
	MUST(poll(&p, 1, -1) == 1);

	// A registration without events to reply to.
	quiet.fd = dial();
	put(quiet.fd, "{\"id\":1,\"request\":\"register\",\"events\":[\"restarted\",\"committed\"]}\n");
	want(&quiet, "{\"id\":1,", "restarted");
	ready_wait();

	put(half.fd, "est\":\"hello\",\"version\":1}\n");
	want(&half, "{\"id\":2,", "\"job\":\"");
	for (int i = 0; i < MANY; i++) {
		snprintf(line, sizeof line, "{\"id\":%d,", i);
		want(&unread, line, "\"version\":1");
	}
	put(quiet.fd, "{\"id\":2,\"request\":\"hello\",\"version\":9}\n");
	want(&quiet, "{\"id\":2,", "\"version\"");

	// The path leads to a supervisor, too.
	again.fd = dial();
	put(again.fd, "{\"id\":7,\"request\":\"hello\",\"version\":1}\n");
	want(&again, "{\"id\":7,", "\"generation\":");
	ok();
}
