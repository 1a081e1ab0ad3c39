// manyfds: a tree with many descriptors of many kinds, argv[3] in each of five
// processes: they stay what they are, and shared with whom they were.
#include "prog.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int each = 160, epfd;
static volatile int *gate;

static int must_fd(int fd) {
	MUST(fd >= 0);
	return fd;
}

// fill_table opens eight descriptors at a time: two of a pipe with a byte in it,
// two eventfds of which an epoll instance watches one, a file, a copy of it, a
// directory and a device.
static void fill_table(int seed) {
	for (int i = 0; i < each / 8; i++) {
		int p[2], ev = must_fd(eventfd(seed + i, EFD_NONBLOCK));
		MUST(epoll_ctl(epfd, EPOLL_CTL_ADD, ev, &(struct epoll_event){.events = EPOLLIN, .data.u64 = i}) == 0);
		must_fd(eventfd(i, EFD_SEMAPHORE));
		MUST(pipe(p) == 0 && write(p[1], &(char){i}, 1) == 1);
		int f = must_fd(open("/etc/passwd", O_RDONLY));
		MUST(lseek(f, i, SEEK_SET) == i);
		must_fd(dup(f));
		must_fd(open("/", O_RDONLY | O_DIRECTORY)), must_fd(open("/dev/null", O_RDWR));
	}
}
// check_table checks them, all numbers from first on.
static void check_table(int first, int seed) {
	for (int i = 0; i < each / 8; i++, first += 8) {
		uint64_t n;
		char c;
		CHECK(read(first, &n, 8) == 8 && n == (uint64_t)(seed + i), "eventfd %d", first);
		CHECK(i == 0 || (read(first + 1, &n, 8) == 8 && n == 1), "eventfd %d", first + 1);
		CHECK(read(first + 2, &c, 1) == 1 && c == (char)i, "pipe %d", first + 2);
		CHECK(lseek(first + 4, 1, SEEK_CUR) == i + 1 && lseek(first + 5, 0, SEEK_CUR) == i + 1, "file %d", first + 4);
		CHECK(fcntl(first + 6, F_GETFL) & O_DIRECTORY && write(first + 7, "x", 1) == 1, "directory %d", first + 6);
	}
}
static int ready_ones(void) {
	static struct epoll_event got[200000];
	return epoll_wait(epfd, got, 200000, 0);
}
static int has_many(void *seed) {
	epfd = must_fd(epoll_create1(0));
	int first = must_fd(dup(0));
	close(first);
	fill_table((long)seed);
	gate_pass(gate);
	if ((long)seed == 1) {
		gate_wait(gate, 5);
		ready();
	}
	wait_go();
	CHECK(ready_ones() == each / 8, "not all eventfds are ready");
	check_table(first, (long)seed);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	each = argc > 3 ? atoi(argv[3]) : each;
	close_range(3, ~0u, 0); // their numbers are to be in a row
	struct rlimit l;
	MUST(getrlimit(RLIMIT_NOFILE, &l) == 0);
	l.rlim_cur = l.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &l) == 0);
	gate = new_gate();
	pid_t c[4];
	for (long i = 0; i < 4; i++)
		c[i] = child(has_many, (void *)(i * 1000 + 1001));
	has_many((void *)1l);
	for (int i = 0; i < 4; i++)
		must_exit(c[i], 0);
	ok();
}
