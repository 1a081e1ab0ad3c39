// storms KIND: a tree that changes all the time: fork, vfork (and exec),
// thread. Each child and thread does its part or the program says so.
#include "prog.h"
#include <spawn.h>

extern char **environ;
static long rounds;

static int nothing(void *n) { return (long)n & 127; }
static void forks(void) {
	pid_t pids[4];
	for (long i = 0; i < 4; i++)
		pids[i] = child(nothing, (void *)(rounds + i));
	for (long i = 0; i < 4; i++)
		must_exit(pids[i], (rounds + i) & 127);
}
static void vforks(void) {
	char *argv[] = {"sh", "-c", "exit 9", NULL};
	pid_t pid;
	MUST(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) == 0); // CLONE_VFORK
	must_exit(pid, 9);
	pid = vfork();
	if (pid == 0) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	must_exit(pid, 0);
}
static int nests(void *depth) {
	long d = (long)depth;
	if (d > 0)
		must_exit(child(nests, (void *)(d - 1)), d - 1);
	return d;
}
static void nested(void) { must_exit(child(nests, (void *)3l), 3); }
static void *adds(void *n) { return (char *)n + 1; }
static void threads(void) {
	pthread_t t[8];
	for (long i = 0; i < 8; i++)
		t[i] = thread(adds, (void *)(rounds + i));
	for (long i = 0; i < 8; i++) {
		void *got;
		MUST(pthread_join(t[i], &got) == 0 && (long)got == rounds + i + 1);
	}
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	const char *kind = argc > 3 ? argv[3] : "";
	void (*storm)(void) = !strcmp(kind, "fork") ? forks : !strcmp(kind, "vfork") ? vforks : !strcmp(kind, "nested") ? nested : threads;
	for (; rounds < 5; rounds++)
		storm();
	ready();
	long after = 0;
	while (after < 20) {
		storm();
		rounds++;
		after += went();
	}
	ok();
}
