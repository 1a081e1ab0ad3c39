// loops KIND N: for measuring. Does N system calls, forks or thread creations,
// and says how long that took.
#include "prog.h"

static int nothing(void *unused UNUSED) { return 0; }
static void *none(void *unused UNUSED) { return NULL; }

int main(int argc, char **argv) {
	prog_init(argc, argv);
	const char *kind = argc > 3 ? argv[3] : "syscall";
	long n = argc > 4 ? atol(argv[4]) : 1000;
	ready_wait();
	double start = now();
	for (long i = 0; i < n; i++)
		if (!strcmp(kind, "syscall"))
			syscall(SYS_getppid);
		else if (!strcmp(kind, "fork"))
			must_exit(child(nothing, NULL), 0);
		else
			pthread_join(thread(none, NULL), NULL);
	char line[64];
	snprintf(line, sizeof line, "took %.6f", now() - start);
	say(line);
	ok();
}
