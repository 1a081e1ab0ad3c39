// aio: contexts of asynchronous I/O (io_setup) keep their addresses, sizes and
// places in their rings, and the events that wait in them, in order: in a
// ring that is empty, one that is full, and one that goes past its end; and a
// thread that waits for events gets them. With "under_way" a request never
// ends, with "soon" it does in a moment, "forked" has a ring of its parent's.
// "traffic" goes on and on: no event may be lost, come twice, or be another's.
#include "prog.h"
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>

struct ring {
	unsigned id, nr, head, tail, magic, compat, incompat, header;
	struct io_event events[];
};
#define MANY 1024
static int null_fd;

static aio_context_t setup(unsigned requests) {
	aio_context_t c = 0;
	MUST(syscall(SYS_io_setup, requests, &c) == 0);
	return c;
}
static struct ring *ring(aio_context_t c) { return (void *)c; }
// numbered is the data of a request of a context.
static uint64_t numbered(aio_context_t c, uint64_t n) { return c << 28 | n; }
// submit has n events come that are numbered from first; it may be fewer.
static long submit(aio_context_t c, uint64_t first, int n) {
	struct iocb *list[MANY], requests[MANY];
	for (int i = 0; i < n; i++) {
		list[i] = &requests[i];
		requests[i] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = null_fd, .aio_data = numbered(c, first + i)};
	}
	return syscall(SYS_io_submit, c, n, list);
}
static void reap(aio_context_t c, uint64_t first, int n) {
	struct io_event got[MANY];
	for (int done = 0; done < n;) {
		long k = syscall(SYS_io_getevents, c, 1, n - done, got, NULL);
		if (k == -1 && errno == EINTR)
			continue;
		CHECK(k > 0, "io_getevents gave %ld", k);
		for (int i = 0; i < k; i++, done++)
			CHECK(got[i].data == numbered(c, first + done) && got[i].res == 0, "event %llx of context %lx, result %lld, want number %lx",
				got[i].data, c, got[i].res, first + done);
	}
}
static void none(aio_context_t c) {
	struct io_event e;
	struct timespec zero = {0};
	MUST(syscall(SYS_io_getevents, c, 0, 1, &e, &zero) == 0);
}
static void on_cpu(int n) {
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(n, &one);
	sched_setaffinity(0, sizeof one, &one); // where there is one
}
// fill_up takes all free slots, also those that CPUs keep to themselves.
static uint64_t fill_up(aio_context_t c, uint64_t first) {
	uint64_t next = first;
	cpu_set_t all;
	MUST(sched_getaffinity(0, sizeof all, &all) == 0);
	for (int n = 0; n < CPU_SETSIZE; n++) {
		if (!CPU_ISSET(n, &all))
			continue;
		on_cpu(n);
		for (long k; (k = submit(c, next, 64)) > 0;)
			next += k;
		MUST(errno == EAGAIN);
	}
	MUST(sched_setaffinity(0, sizeof all, &all) == 0);
	return next;
}
static void *used(void *c) { // on another CPU, which keeps free slots to itself
	on_cpu(1);
	for (int i = 0; i < 50; i++) {
		MUST(submit((aio_context_t)c, i, 3) == 3);
		reap((aio_context_t)c, i, 3);
	}
	return NULL;
}
static volatile int waited;
static void *waits(void *c) {
	reap((aio_context_t)c, 7, 2);
	waited = 1;
	return NULL;
}
static aio_context_t poll_under_way(int fd) {
	static struct iocb request;
	struct iocb *list = &request;
	aio_context_t c = setup(4);
	request = (struct iocb){.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = fd, .aio_buf = POLLIN, .aio_data = 99};
	MUST(syscall(SYS_io_submit, c, 1, &list) == 1);
	return c;
}
static void under_way(int ends) {
	int fd = eventfd(0, 0);
	eventfd_t one;
	struct io_event e = {0};
	aio_context_t c = poll_under_way(fd);
	ready();
	for (int naps = 0; !went() || naps <= 15; naps++) {
		nap_ms(20);
		if (naps == 15 && ends)
			MUST(eventfd_write(fd, 1) == 0 && syscall(SYS_io_getevents, c, 1, 1, &e, NULL) == 1 && eventfd_read(fd, &one) == 0);
	}
	if (!ends)
		MUST(eventfd_write(fd, 1) == 0 && syscall(SYS_io_getevents, c, 1, 1, &e, NULL) == 1);
	CHECK(e.data == 99 && e.res == POLLIN, "event %lld, result %lld", e.data, e.res);
	none(c);
	ok();
}

static volatile int stop;
static void *traffic(void *arg) {
	aio_context_t c = setup(16 + 200 * (arg != NULL));
	uint64_t in = 0, out = 0;
	for (unsigned seed = (uintptr_t)arg; !stop;) {
		long k = submit(c, in, 1 + rand_r(&seed) % 100);
		if (k > 0)
			in += k;
		int n = rand_r(&seed) % 100;
		if (n > (int)(in - out))
			n = in - out;
		reap(c, out, n);
		out += n;
	}
	reap(c, out, in - out);
	none(c);
	return NULL;
}
// reaper takes events out of another's context.
static aio_context_t common;
static volatile uint64_t sent;
static void *reaper(void *unused UNUSED) {
	for (uint64_t out = 0; !stop || out < sent; out++)
		reap(common, out, 1);
	return NULL;
}
static void *sender(void *unused UNUSED) {
	while (!stop) {
		long k = submit(common, sent, 5);
		if (k > 0)
			sent += k;
		else
			nap_ms(1);
	}
	return NULL;
}
static void busy(void) {
	pthread_t t[4];
	common = setup(64);
	t[0] = thread(traffic, NULL), t[1] = thread(traffic, (void *)1), t[2] = thread(reaper, NULL), t[3] = thread(sender, NULL);
	ready_wait();
	stop = 1;
	for (int i = 0; i < 4; i++)
		if (i != 2)
			MUST(pthread_join(t[i], NULL) == 0);
	while (submit(common, sent, 1) != 1) // for a reaper that waits
		nap_ms(1);
	sent++;
	MUST(pthread_join(t[2], NULL) == 0);
	ok();
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	null_fd = open("/dev/null", O_RDWR);
	MUST(null_fd >= 0);
	if (argc > 3 && (!strcmp(argv[3], "under_way") || !strcmp(argv[3], "soon")))
		under_way(argv[3][0] == 's');
	if (argc > 3 && !strcmp(argv[3], "traffic"))
		busy();
	aio_context_t fresh = setup(1), empty = setup(300), past = setup(8), full = setup(100), wanted = setup(5), direct = setup(2);
	if (argc > 3) { // forked
		pid_t c = child(until_go, NULL);
		ready_wait();
		must_exit(c, 0);
		ok();
	}
	MUST(pthread_join(thread(used, (void *)empty), NULL) == 0);
	uint64_t at = 0;
	for (; at < 400 || at % ring(past)->nr != ring(past)->nr - 4; at++) {
		MUST(submit(past, at, 1) == 1);
		reap(past, at, 1);
	}
	MUST(submit(past, at, 10) == 10);
	MUST(pthread_join(thread(used, (void *)full), NULL) == 0);
	uint64_t top = fill_up(full, 1000);
	pthread_t t = thread(waits, (void *)wanted);
	struct ring was[] = {*ring(fresh), *ring(empty), *ring(past), *ring(full), *ring(wanted)};
	nap_ms(20);
	ready_wait();

	aio_context_t all[] = {fresh, empty, past, full, wanted};
	for (int i = 0; i < 5; i++)
		CHECK(ring(all[i])->nr == was[i].nr && ring(all[i])->head == was[i].head && ring(all[i])->tail == was[i].tail && ring(all[i])->magic == was[i].magic,
			"ring %d: %u events, %u to %u, was %u, %u to %u", i, ring(all[i])->nr, ring(all[i])->head, ring(all[i])->tail, was[i].nr, was[i].head, was[i].tail);
	none(fresh), none(empty);
	reap(past, at, 10);
	none(past);
	MUST(!waited && submit(wanted, 7, 2) == 2 && pthread_join(t, NULL) == 0 && waited);
	MUST(fill_up(full, 5000) == 5000);
	reap(full, 1000, top - 1000);
	none(full);
	for (int i = 0; i < 4; i++) {
		uint64_t n = fill_up(all[i], 0);
		CHECK(n > ring(all[i])->nr / 2, "room for %lu events in a ring of %u", n, ring(all[i])->nr);
		reap(all[i], 0, n);
	}
	char text[8];
	int fd = memfd_create("written to", 0);
	MUST(fd >= 0 && ftruncate(fd, PAGE) == 0);
	struct iocb w = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = fd, .aio_buf = (uintptr_t) "written", .aio_nbytes = 7, .aio_data = 1};
	struct iocb *list = &w;
	struct io_event e;
	MUST(syscall(SYS_io_submit, direct, 1, &list) == 1 && syscall(SYS_io_getevents, direct, 1, 1, &e, NULL) == 1 && e.res == 7 && e.data == 1);
	MUST(pread(fd, text, 7, 0) == 7 && !memcmp(text, "written", 7));
	for (int i = 0; i < 5; i++)
		MUST(syscall(SYS_io_destroy, all[i]) == 0);
	MUST(syscall(SYS_io_submit, fresh, 0, NULL) == -1 && errno == EINVAL);
	ok();
}
