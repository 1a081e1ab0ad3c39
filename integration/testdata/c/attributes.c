// attributes: all the small things that a process or a thread has.
#include "prog.h"
#include <sys/personality.h>
#ifndef PR_GET_THP_DISABLE
#define PR_GET_THP_DISABLE 42
#endif

extern char **environ;
static char cwd[4096], cwd2[4096];

static void file_is(const char *path, const char *want, size_t n) {
	char buf[4096];
	int fd = open(path, O_RDONLY);
	ssize_t got = read(fd, buf, sizeof buf);
	close(fd);
	CHECK(got >= (ssize_t)n && !memcmp(buf, want, n), "%s is %.*s", path, (int)got, buf);
}
static void *other(void *unused UNUSED) {
	char name[17] = {0};
	prctl(PR_SET_NAME, "odd )name (\n");
	MUST(setpriority(PRIO_PROCESS, gettid(), 7) == 0);
	struct sched_param sp = {0};
	MUST(sched_setscheduler(0, SCHED_BATCH, &sp) == 0);
	cpu_set_t one, got;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	MUST(sched_setaffinity(0, sizeof one, &one) == 0);
	prctl(PR_SET_TIMERSLACK, 123456);
	wait_go();
	prctl(PR_GET_NAME, name);
	CHECK(!strcmp(name, "odd )name (\n"), "thread name %s", name);
	errno = 0;
	CHECK(getpriority(PRIO_PROCESS, gettid()) == 7, "nice %d", getpriority(PRIO_PROCESS, gettid()));
	CHECK(sched_getscheduler(0) == SCHED_BATCH, "policy %d", sched_getscheduler(0));
	MUST(sched_getaffinity(0, sizeof got, &got) == 0);
	CHECK(CPU_EQUAL(&one, &got), "affinity of %d processors", CPU_COUNT(&got));
	CHECK(prctl(PR_GET_TIMERSLACK) == 123456, "timer slack %d", prctl(PR_GET_TIMERSLACK));
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	go_path = strdup(go_path), log_path = strdup(log_path); // they lie where we write
	mkdir("sub", 0700);
	MUST(chdir("sub") == 0 && getcwd(cwd, sizeof cwd));
	umask(0137);
	struct rlimit fno = {200, 300}, core = {0, 4096};
	MUST(setrlimit(RLIMIT_NOFILE, &fno) == 0 && setrlimit(RLIMIT_CORE, &core) == 0);
	prctl(PR_SET_PDEATHSIG, SIGUSR2);
	signal(SIGUSR2, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_NAME, "renamed");
	prctl(PR_SET_TIMERSLACK, 77777);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	personality(ADDR_NO_RANDOMIZE);
	setpriority(PRIO_PROCESS, 0, 3);
	int oom = open("/proc/self/oom_score_adj", O_WRONLY), filter = open("/proc/self/coredump_filter", O_WRONLY);
	MUST(write(oom, "321", 3) == 3 && write(filter, "0x7", 3) == 3);
	close(oom), close(filter);
	for (char *p = argv[1]; p < argv[argc - 1] + strlen(argv[argc - 1]); p++)
		*p = p[0] ? 'A' : 0;
	size_t n = strlen(argv[0]);
	memset(argv[0], 'z', n); // as setproctitle does
	char *env = environ[0];
	memset(env, 'E', strlen(env));
	char *title = strdup(argv[0]), *first = strdup(env);
	pthread_t t = thread(other, NULL);
	ready_wait();
	MUST(getcwd(cwd2, sizeof cwd2));
	CHECK(!strcmp(cwd, cwd2), "cwd %s, was %s", cwd2, cwd);
	mode_t m = umask(0);
	CHECK(m == 0137, "umask %o", m);
	struct rlimit r;
	MUST(getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur == 200 && r.rlim_max == 300);
	MUST(getrlimit(RLIMIT_CORE, &r) == 0 && r.rlim_cur == 0 && r.rlim_max == 4096);
	int sig = 0;
	MUST(prctl(PR_GET_PDEATHSIG, &sig) == 0);
	CHECK(sig == SIGUSR2, "parent death signal %d", sig);
	MUST(prctl(PR_GET_DUMPABLE) == 1);
	CHECK(prctl(PR_GET_TIMERSLACK) == 77777, "timer slack %d", prctl(PR_GET_TIMERSLACK));
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	MUST(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1);
	CHECK(personality(0xffffffff) & ADDR_NO_RANDOMIZE, "personality %#x", personality(0xffffffff));
	CHECK(getpriority(PRIO_PROCESS, 0) == 3, "nice %d", getpriority(PRIO_PROCESS, 0));
	file_is("/proc/self/oom_score_adj", "321\n", 4);
	file_is("/proc/self/coredump_filter", "00000007\n", 9);
	file_is("/proc/self/comm", "renamed\n", 8);
	file_is("/proc/self/cmdline", title, n);
	file_is("/proc/self/environ", first, strlen(first));
	pthread_join(t, NULL);
	ok();
}
