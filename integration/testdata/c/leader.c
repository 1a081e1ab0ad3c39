// leader: processes whose first thread has exited while others run, and threads
// with working directories of their own.
#include "prog.h"

static volatile int *gate;
static pid_t pid;
static void *last(void *how) {
	gate_pass(gate);
	wait_go();
	MUST(getpid() == pid && gettid() != pid && getppid() == getppid());
	MUST(kill(pid, 0) == 0);
	MUST(syscall(SYS_tgkill, pid, pid, 0) == 0); // the zombie is there
	char buf[100], path[100];
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, pid);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, buf, sizeof buf - 1);
	MUST(n > 0);
	close(fd);
	buf[n] = 0;
	CHECK(strstr(buf, "(the leader) Z "), "the leader is %s", buf);
	if (how)
		_exit(3);
	syscall(SYS_exit, 5);
	return NULL;
}
static void *mate(void *unused UNUSED) {
	gate_pass(gate);
	wait_go();
	syscall(SYS_exit, 5);
	return NULL;
}
static int leaves(void *how) {
	pid = getpid();
	prctl(PR_SET_NAME, "the leader");
	thread(last, how);
	if (!how)
		thread(mate, NULL);
	syscall(SYS_exit, 7);
	return 1;
}
static void *elsewhere(void *unused UNUSED) {
	MUST(unshare(CLONE_FS) == 0);
	MUST(chdir("/proc") == 0);
	umask(0123);
	gate_pass(gate);
	wait_go();
	char cwd[100];
	MUST(getcwd(cwd, sizeof cwd));
	CHECK(!strcmp(cwd, "/proc"), "cwd of the thread is %s", cwd);
	mode_t m = umask(0);
	CHECK(m == 0123, "umask of the thread is %o", m);
	MUST(chdir("/") == 0);
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	MUST(chdir("/usr") == 0);
	pid_t a = child(leaves, (void *)1), b = child(leaves, NULL);
	pthread_t t = thread(elsewhere, NULL);
	gate_wait(gate, 4);
	ready_wait();
	must_exit(a, 3);
	must_exit(b, 5); // as the last thread, whatever the leader said
	MUST(pthread_join(t, NULL) == 0);
	char cwd[100];
	MUST(getcwd(cwd, sizeof cwd));
	CHECK(!strcmp(cwd, "/usr"), "cwd is %s", cwd);
	MUST(umask(0) == 022);
	ok();
}
