// nouring: under supervise run --no-io-uring, every process and thread, and
// those to come, find that there is no io_uring, before a snapshot and after.
#include "prog.h"
#include <linux/seccomp.h>

static volatile int *gate;

// confined checks the calling thread.
static void confined(void) {
	char path[100], buf[4096];
	long fd = syscall(425 /* io_uring_setup */, 1, buf);
	CHECK(fd == -1 && errno == ENOSYS, "io_uring_setup gives %ld", fd);
	MUST(syscall(SYS_getppid) >= 0);
	snprintf(path, sizeof path, "/proc/self/task/%d/status", gettid());
	int f = open(path, O_RDONLY);
	ssize_t n = read(f, buf, sizeof buf - 1);
	close(f);
	MUST(n > 0);
	buf[n] = 0;
	CHECK(strstr(buf, "\nSeccomp:\t2\nSeccomp_filters:\t1\n"), "status %s", strstr(buf, "\nSeccomp"));
	// As an ordinary user it takes no_new_privs.
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == (getuid() != 0));
}
static void *other(void *unused UNUSED) {
	confined();
	gate_pass(gate);
	wait_go();
	confined();
	gate_pass(gate);
	return NULL;
}
static int grandchild(void *unused UNUSED) {
	thread(other, NULL);
	other(NULL);
	gate_wait(gate, 6);
	return 0;
}
// orphan becomes a child of the supervisor.
static int orphaned(void *unused UNUSED) {
	if (fork() == 0) {
		setsid();
		other(NULL);
		_exit(0);
	}
	return 0;
}
static int fresh(void *unused UNUSED) {
	confined();
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	confined();
	gate = new_gate();
	pid_t pid = child(grandchild, NULL);
	must_exit(child(orphaned, NULL), 0);
	gate_wait(gate, 3);
	ready_wait();
	confined();
	must_exit(pid, 0);
	must_exit(child(fresh, NULL), 0);
	ok();
}
