// robust: robust mutexes whose owner dies after the snapshot, a thread and a
// process, tell the next owner so.
#include "prog.h"

static pthread_mutex_t *shared, own;

static void make(pthread_mutex_t *m, int pshared) {
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&a, pshared);
	MUST(pthread_mutex_init(m, &a) == 0);
}

static volatile int *held;
static void *thread_owner(void *unused UNUSED) {
	MUST(pthread_mutex_lock(&own) == 0);
	gate_pass(held);
	wait_go();
	return NULL;
}
static int process_owner(void *unused UNUSED) {
	MUST(pthread_mutex_lock(shared) == 0);
	gate_pass(held);
	wait_go();
	return 3;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	held = new_gate();
	shared = map(PAGE, RW, SHANON);
	make(shared, PTHREAD_PROCESS_SHARED);
	make(&own, PTHREAD_PROCESS_PRIVATE);
	pid_t c = child(process_owner, NULL);
	pthread_t t = thread(thread_owner, NULL);
	gate_wait(held, 2);
	ready_wait();
	MUST(pthread_join(t, NULL) == 0);
	must_exit(c, 3);
	int e = pthread_mutex_lock(&own);
	CHECK(e == EOWNERDEAD, "mutex of a dead thread: %d", e);
	e = pthread_mutex_lock(shared);
	CHECK(e == EOWNERDEAD, "mutex of a dead process: %d", e);
	ok();
}
