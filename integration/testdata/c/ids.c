// ids: every process and thread is who it was, for itself and for the others.
#include "prog.h"

struct who {
	pid_t pid, ppid, tid, pgid, sid;
};
static struct who me(void) { return (struct who){getpid(), getppid(), gettid(), getpgrp(), getsid(0)}; }
static void same(const char *what, struct who was, int inside) {
	struct who is = me();
	CHECK(is.pid == was.pid && is.tid == was.tid, "%s: pid %d tid %d, was %d %d", what, is.pid, is.tid, was.pid, was.tid);
	if (inside)
		CHECK(is.ppid == was.ppid && is.pgid == was.pgid && is.sid == was.sid, "%s: ppid %d pgid %d sid %d, was %d %d %d", what, is.ppid,
		      is.pgid, is.sid, was.ppid, was.pgid, was.sid);
	char link[32] = {0};
	MUST(readlink("/proc/self", link, sizeof link - 1) > 0);
	CHECK(atoi(link) == was.pid, "/proc/self is %s, pid %d", link, was.pid);
	MUST(readlink("/proc/thread-self", link, sizeof link - 1) > 0);
}
static void *thread_id(void *unused UNUSED) {
	struct who w = me();
	wait_go();
	same("thread", w, 0);
	MUST(syscall(SYS_tgkill, w.pid, w.tid, 0) == 0);
	return NULL;
}
static volatile pid_t *pids;
static volatile int *gate;
static int nest(void *arg) {
	long depth = (long)arg;
	pid_t c = depth < 4 ? child(nest, (void *)(depth + 1)) : 0;
	struct who w = me();
	pids[depth] = w.pid;
	pthread_t t = thread(thread_id, NULL);
	gate_pass(gate);
	wait_go();
	same("child", w, 1);
	for (int i = 0; i < 5; i++)
		MUST(kill(pids[i], 0) == 0);
	gate_pass(gate);
	gate_wait(gate, 10);
	pthread_join(t, NULL);
	if (c)
		must_exit(c, depth + 1);
	return depth;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	pids = map(PAGE, RW, SHANON);
	setpgid(0, 0);
	pid_t c = child(nest, (void *)0l);
	struct who w = me();
	gate_wait(gate, 5);
	ready_wait();
	same("root", w, 0);
	must_exit(c, 0);
	MUST(w.pid == getpid());
	ok();
}
