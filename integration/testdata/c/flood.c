// flood: sends as many MiB as argument 4 says to somebody outside the tree
// (argument 3, see callers), who says "hello" and sends everything back, and
// checks what comes. Snapshots are taken meanwhile.
#include "calls.h"

static int fd;
static long long total;

static unsigned char at(long long i) { return (i * 2654435761u >> 16) ^ i; }

static void *sends(void *unused UNUSED) {
	static unsigned char buf[100000];
	for (long long done = 0; done < total;) {
		size_t want = total - done < (long long)sizeof buf ? total - done : (long long)sizeof buf;
		for (size_t i = 0; i < want; i++)
			buf[i] = at(done + i);
		for (size_t n = 0; n < want;) {
			ssize_t got = write(fd, buf + n, want - n);
			CHECK(got > 0, "write gave %zd after %lld bytes", got, done + (long long)n);
			n += got;
		}
		done += want;
	}
	return NULL;
}

int main(int argc, char **argv) {
	static unsigned char buf[100000];
	prog_init(argc, argv);
	MUST(argc == 5);
	fd = call(argv[3]);
	total = atoll(argv[4]) << 20;
	MUST(recv(fd, buf, 5, MSG_WAITALL) == 5 && !memcmp(buf, "hello", 5));
	ready();
	pthread_t t = thread(sends, NULL);
	for (long long done = 0; done < total;) {
		ssize_t got = read(fd, buf, sizeof buf);
		CHECK(got > 0, "read gave %zd after %lld bytes", got, done);
		for (ssize_t i = 0; i < got; i++)
			CHECK(buf[i] == at(done + i), "byte %lld is wrong", done + i);
		done += got;
	}
	pthread_join(t, NULL);
	ok();
}
