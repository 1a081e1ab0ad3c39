// mqueues: POSIX message queues keep names, limits, modes and flags, and are the
// same for all that have them open: several descriptors, several processes, and
// also when the name is gone. So do the messages in them, in their order.
#include "sysv.h"
#include <mqueue.h>
#include <poll.h>

static volatile int *gate;
static mqd_t named, writer, unlinked, closed, full;

static void is(const char *what, mqd_t q, long flags, long messages, long size, mode_t mode) {
	struct mq_attr a;
	struct stat st;
	MUST(mq_getattr(q, &a) == 0 && fstat(q, &st) == 0);
	CHECK(a.mq_flags == flags && a.mq_maxmsg == messages && a.mq_msgsize == size && a.mq_curmsgs == 0,
		"%s: flags %#lx, %ld messages of %ld bytes, %ld waiting", what, a.mq_flags, a.mq_maxmsg, a.mq_msgsize, a.mq_curmsgs);
	CHECK((st.st_mode & 0777) == mode && st.st_uid == geteuid(), "%s: mode %o, uid %d", what, st.st_mode, st.st_uid);
}
static void get(mqd_t q, const char *want, unsigned priority) {
	char text[200];
	unsigned p;
	ssize_t n = mq_receive(q, text, sizeof text, &p);
	CHECK(n == (ssize_t)strlen(want) && !memcmp(text, want, n) && p == priority, "got %zd bytes, priority %u, want %s", n, p, want);
}
static int other(void *unused UNUSED) {
	gate_pass(gate);
	wait_go();
	gate_wait(gate, 2);
	get(named, "urgent", 9), get(named, "first", 1), get(named, "second", 1);
	get(unlinked, "there", 0);
	gate_pass(gate);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	char name[40], gone[100];
	snprintf(name, sizeof name, "/supervise-test-%d-a", getpid());
	snprintf(gone, sizeof gone, "/supervise-test-%d-b", getpid());
	note("mq", name + 1);
	struct mq_attr a = {.mq_maxmsg = 5, .mq_msgsize = 100}, b = {.mq_maxmsg = 2, .mq_msgsize = 7};
	named = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &a);
	writer = mq_open(name, O_WRONLY | O_NONBLOCK);
	unlinked = mq_open(gone, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &b);
	MUST(named >= 0 && writer >= 0 && unlinked >= 0 && fchmod(unlinked, 0400) == 0 && mq_unlink(gone) == 0);
	closed = mq_open(gone, O_RDWR | O_CREAT | O_EXCL, 0600, &b); // another one of the same name
	MUST(closed >= 0 && mq_unlink(gone) == 0);
	snprintf(gone, sizeof gone, "/supervise-test-%d-c", getpid());
	full = mq_open(gone, O_WRONLY | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &a); // nobody reads it
	MUST(full >= 0 && mq_unlink(gone) == 0);
	MUST(!mq_send(full, "low", 3, 0) && !mq_send(full, "", 0, 3) && !mq_send(full, "high", 4, 32767) && !mq_send(full, "low again", 9, 0) && !mq_send(full, "high again", 10, 32767));
	MUST(mq_send(full, "more", 4, 0) == -1 && errno == EAGAIN);
	pid_t c = child(other, NULL);
	gate_wait(gate, 1);
	ready_wait();

	is("named", named, 0, 5, 100, 0600), is("writer", writer, O_NONBLOCK, 5, 100, 0600);
	is("unlinked", unlinked, O_NONBLOCK, 2, 7, 0400), is("closed", closed, 0, 2, 7, 0600);
	mqd_t again = mq_open(name, O_RDWR);
	MUST(again >= 0);
	MUST(mq_send(writer, "first", 5, 1) == 0 && mq_send(again, "second", 6, 1) == 0 && mq_send(named, "urgent", 6, 9) == 0);
	MUST(mq_send(unlinked, "there", 5, 0) == 0);
	struct pollfd ready[2] = {{named, POLLIN, 0}, {closed, POLLIN, 0}};
	MUST(poll(ready, 2, 0) == 1 && ready[0].revents == POLLIN);
	gate_pass(gate);
	must_exit(c, 0);
	MUST(mq_send(unlinked, "a", 1, 0) == 0 && mq_send(unlinked, "b", 1, 0) == 0 && mq_send(unlinked, "c", 1, 0) == -1 && errno == EAGAIN);
	MUST(mq_open(gone, O_RDWR) == -1 && errno == ENOENT);
	MUST(mq_send(full, "more", 4, 0) == -1 && errno == EAGAIN);
	snprintf(gone, sizeof gone, "/proc/self/fd/%d", full);
	mqd_t drain = open(gone, O_RDONLY | O_NONBLOCK);
	MUST(drain >= 0);
	get(drain, "high", 32767), get(drain, "high again", 32767), get(drain, "", 3), get(drain, "low", 0), get(drain, "low again", 0);
	MUST(mq_receive(drain, gone, 100, NULL) == -1 && errno == EAGAIN);
	MUST(mq_unlink(name) == 0);
	ok();
}
