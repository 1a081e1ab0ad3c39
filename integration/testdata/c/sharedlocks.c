// sharedlocks: locks of descriptions that processes share over fork, many
// ranges, read locks of several processes, a lock to the end of a file, and
// locks on files without a name and on memfds.
#include "prog.h"
#include <sys/file.h>

static volatile int *gate;
static int ofd, fl, ranges, nameless, mem;

static struct flock area(int type, int start, int len) { return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len}; }
static void lock(int fd, int cmd, int type, int start, int len) {
	struct flock a = area(type, start, len);
	CHECK(fcntl(fd, cmd, &a) == 0, "lock %d-%d", start, len);
}
// holder gives who keeps us from a lock: a pid, -1 for a description, or 0.
static pid_t holder(int fd, int type, int start, int len, int cmd) {
	struct flock a = area(type, start, len);
	MUST(fcntl(fd, cmd, &a) == 0);
	return a.l_type == F_UNLCK ? 0 : a.l_pid;
}
static int shares(void *parent) {
	lock(ranges, F_SETLK, F_RDLCK, 1000, 10);
	lock(ranges, F_SETLK, F_WRLCK, 5000, 0);
	gate_pass(gate);
	wait_go();
	// What is ours by the shared description, we can change.
	MUST(flock(fl, LOCK_EX | LOCK_NB) == 0);
	struct flock a = area(F_WRLCK, 0, 5);
	MUST(fcntl(ofd, F_OFD_SETLK, &a) == 0);
	for (int i = 0; i < 50; i++) {
		pid_t got = holder(ranges, F_WRLCK, 10 * i, 1, F_GETLK);
		CHECK(got == (pid_t)(long)parent, "range %d is locked by %d", i, got);
		MUST(holder(ranges, F_RDLCK, 10 * i, 1, F_GETLK) == (i % 2 ? 0 : (pid_t)(long)parent));
		MUST(holder(ranges, F_WRLCK, 10 * i + 5, 1, F_GETLK) == 0);
	}
	MUST(holder(nameless, F_WRLCK, 0, 0, F_GETLK) == (pid_t)(long)parent && holder(mem, F_WRLCK, 0, 0, F_GETLK) == (pid_t)(long)parent);
	gate_pass(gate);
	gate_wait(gate, 3);
	return 0;
}
static int other(void *unused UNUSED) { // has descriptions of its own
	int o = open("shared", O_RDWR), f = open("flocked", O_RDWR);
	gate_pass(gate);
	wait_go();
	MUST(flock(f, LOCK_EX | LOCK_NB) == -1 && holder(o, F_WRLCK, 7, 1, F_OFD_GETLK) == -1 && holder(o, F_RDLCK, 50, 1, F_OFD_GETLK) == 0);
	MUST(holder(o, F_WRLCK, 50, 1, F_OFD_GETLK) == -1);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	ofd = open("shared", O_RDWR | O_CREAT, 0600), fl = open("flocked", O_RDONLY | O_CREAT, 0600), ranges = open("ranges", O_RDWR | O_CREAT, 0600);
	nameless = open("nameless", O_RDWR | O_CREAT, 0600), mem = memfd_create("locked", 0);
	MUST(ofd >= 0 && fl >= 0 && ranges >= 0 && nameless >= 0 && mem >= 0 && unlink("nameless") == 0);
	lock(ofd, F_OFD_SETLK, F_WRLCK, 0, 10), lock(ofd, F_OFD_SETLK, F_RDLCK, 50, 0);
	MUST(flock(fl, LOCK_EX) == 0);
	for (int i = 0; i < 50; i++)
		lock(ranges, F_SETLK, i % 2 ? F_RDLCK : F_WRLCK, 10 * i, 3);
	lock(ranges, F_SETLK, F_RDLCK, 1005, 10);
	lock(nameless, F_SETLK, F_RDLCK, 0, 0), lock(mem, F_SETLK, F_WRLCK, 0, 1);
	pid_t d = child(other, NULL), c = child(shares, (void *)(long)getpid());
	gate_wait(gate, 2);
	*gate = 0;
	ready_wait();

	must_exit(d, 0);
	gate_wait(gate, 1);
	MUST(holder(ranges, F_WRLCK, 1000, 1, F_GETLK) == c && holder(ranges, F_WRLCK, 1007, 1, F_GETLK) == c && holder(ranges, F_RDLCK, 1007, 1, F_GETLK) == 0);
	MUST(holder(ranges, F_RDLCK, 1 << 30, 1, F_GETLK) == c && holder(ranges, F_RDLCK, 4999, 1, F_GETLK) == 0);
	*gate = 3;
	must_exit(c, 0);
	ok();
}
