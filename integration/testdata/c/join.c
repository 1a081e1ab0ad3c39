// join: a thread joins another that ends only after the snapshot, which works
// by the kernel clearing its tid (set_tid_address) and waking the waiter.
#include "prog.h"

static volatile pid_t lone;
static void *last(void *unused UNUSED) {
	wait_go();
	return (void *)42;
}
static void *joins(void *t) {
	void *got;
	MUST(pthread_join((pthread_t)t, &got) == 0);
	return got;
}
static int bare(void *unused UNUSED) {
	wait_go();
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	pthread_t a = thread(last, NULL), b = thread(joins, (void *)a);
	char *stack = map(64 * KiB, RW, ANON);
	pid_t tid = clone(bare, stack + 64 * KiB, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID | SIGCHLD,
			  NULL, &lone, NULL, &lone);
	MUST(tid > 0 && lone == tid);
	ready();
	void *got;
	MUST(pthread_join(b, &got) == 0);
	CHECK((long)got == 42, "thread gave %ld", (long)got);
	must_exit(tid, 0);
	CHECK(lone == 0, "tid of a process that shared memory was not cleared");
	ok();
}
