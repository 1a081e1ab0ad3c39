// pi: mutexes with priority inheritance, held and waited for over the snapshot,
// in one process and between two, also robust ones whose owner dies.
#include "prog.h"

static void make(pthread_mutex_t *m, int pshared, int robust) {
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	MUST(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT) == 0);
	pthread_mutexattr_setpshared(&a, pshared);
	if (robust)
		pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	MUST(pthread_mutex_init(m, &a) == 0);
}

static pthread_mutex_t own, *shared, *robust;
static volatile int *gate, order;
static void *waiter(void *unused UNUSED) {
	gate_pass(gate);
	MUST(pthread_mutex_lock(&own) == 0);
	order++;
	MUST(pthread_mutex_unlock(&own) == 0);
	return NULL;
}
static int other(void *unused UNUSED) { // owns robust, waits for shared
	MUST(pthread_mutex_lock(robust) == 0);
	gate_pass(gate);
	MUST(pthread_mutex_lock(shared) == 0);
	MUST(went());
	MUST(pthread_mutex_unlock(shared) == 0);
	return 4; // and dies with robust
}
static void *mourner(void *unused UNUSED) {
	gate_pass(gate);
	int e = pthread_mutex_lock(robust);
	CHECK(e == EOWNERDEAD, "mutex of a dead process: %d", e);
	MUST(pthread_mutex_consistent(robust) == 0 && pthread_mutex_unlock(robust) == 0);
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	shared = map(PAGE, RW, SHANON);
	robust = shared + 1;
	make(&own, PTHREAD_PROCESS_PRIVATE, 0);
	make(shared, PTHREAD_PROCESS_SHARED, 0);
	make(robust, PTHREAD_PROCESS_SHARED, 1);
	MUST(pthread_mutex_lock(&own) == 0 && pthread_mutex_lock(shared) == 0);
	pid_t c = child(other, NULL);
	gate_wait(gate, 1);
	pthread_t t[] = {thread(waiter, NULL), thread(waiter, NULL), thread(mourner, NULL)};
	gate_wait(gate, 4);
	nap_ms(50); // they wait in the kernel now
	ready_wait();
	MUST(order == 0);
	MUST(pthread_mutex_trylock(&own) == EBUSY);
	MUST(pthread_mutex_unlock(&own) == 0);
	MUST(pthread_join(t[0], NULL) == 0 && pthread_join(t[1], NULL) == 0 && order == 2);
	MUST(pthread_mutex_unlock(shared) == 0);
	must_exit(c, 4);
	MUST(pthread_join(t[2], NULL) == 0);
	MUST(pthread_mutex_lock(robust) == 0 && pthread_mutex_unlock(robust) == 0);
	ok();
}
