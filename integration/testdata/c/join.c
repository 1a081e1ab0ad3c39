// join: a thread joins another that ends only after the snapshot, which works
// by the kernel clearing its tid (set_tid_address) and waking the waiter.
#include "prog.h"

static void *last(void *unused UNUSED) {
	wait_go();
	return (void *)42;
}
static void *joins(void *t) {
	void *got;
	MUST(pthread_join((pthread_t)t, &got) == 0);
	return got;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	pthread_t a = thread(last, NULL), b = thread(joins, (void *)a);
	ready();
	void *got;
	MUST(pthread_join(b, &got) == 0);
	CHECK((long)got == 42, "thread gave %ld", (long)got);
	ok();
}
