// prog.h is what all test programs share. A program sets itself up, says
// "ready", waits until the file argv[1] exists, checks itself and says "ok".
// What it says it appends to the file argv[2]. It exits with 1 after "FAIL why".
#ifndef PROG_H
#define PROG_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static const char *go_path, *log_path;

// A program with handlers that may run at any time sets expect_eintr; all
// others fail when a wait is interrupted.
static volatile int expect_eintr;

UNUSED static void say(const char *line) {
	char buf[1100];
	int n = snprintf(buf, sizeof buf, "%s\n", line);
	int fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, buf, n) != n)
		_exit(2);
	close(fd);
}

__attribute__((noreturn, format(printf, 1, 2))) UNUSED static void fail(const char *fmt, ...) {
	int e = errno;
	char why[900], line[1000];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	snprintf(line, sizeof line, "FAIL %s (pid %d, errno %d %s)", why, getpid(), e, strerror(e));
	say(line);
	_exit(1);
}

#define CHECK(cond, ...) \
	do { \
		if (!(cond)) \
			fail(__VA_ARGS__); \
	} while (0)
// MUST is CHECK that says what it checked.
#define MUST(cond) CHECK(cond, "%s:%d: %s", __FILE_NAME__, __LINE__, #cond)

UNUSED static double now_on(clockid_t clock) {
	struct timespec t;
	MUST(clock_gettime(clock, &t) == 0);
	return t.tv_sec + t.tv_nsec / 1e9;
}
UNUSED static double now(void) { return now_on(CLOCK_MONOTONIC); }

UNUSED static void nap_ms(long ms) {
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&t, &t))
		CHECK(errno == EINTR && expect_eintr, "nanosleep");
}

UNUSED static int went(void) { return access(go_path, F_OK) == 0; }

UNUSED static void wait_go(void) {
	while (!went())
		nap_ms(20);
}

UNUSED static void prog_init(int argc, char **argv) {
	if (argc < 3)
		_exit(3);
	go_path = argv[1];
	log_path = argv[2];
}

UNUSED static void ready(void) { say("ready"); }
UNUSED static void ready_wait(void) {
	ready();
	wait_go();
}
__attribute__((noreturn)) UNUSED static void ok(void) {
	say("ok");
	_exit(0);
}

// thread starts fn(arg), or fails.
UNUSED static pthread_t thread(void *(*fn)(void *), void *arg) {
	pthread_t t;
	int e = pthread_create(&t, NULL, fn, arg);
	errno = e;
	MUST(e == 0);
	return t;
}

// child forks a child that runs fn(arg) and exits with what it returns.
UNUSED static pid_t child(int (*fn)(void *), void *arg) {
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		_exit(fn(arg));
	return pid;
}

// must_exit waits for a child, which must exit with status.
UNUSED static void must_exit(pid_t pid, int status) {
	int st;
	pid_t got;
	while ((got = waitpid(pid, &st, 0)) < 0 && errno == EINTR && expect_eintr)
		;
	CHECK(got == pid, "waitpid %d gave %d", pid, got);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == status, "child %d: status %#x, want exit %d", pid, st, status);
}

// gone is a child that only waits for the go signal.
UNUSED static int until_go(void *unused UNUSED) {
	wait_go();
	return 0;
}

// A gate lets processes that share it wait for each other's set-up.
UNUSED static volatile int *new_gate(void) {
	volatile int *g = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(g != MAP_FAILED);
	return g;
}
UNUSED static void gate_pass(volatile int *g) { __atomic_add_fetch(g, 1, __ATOMIC_SEQ_CST); }
UNUSED static void gate_wait(volatile int *g, int n) {
	while (__atomic_load_n(g, __ATOMIC_SEQ_CST) < n)
		nap_ms(1);
}

// fill and holds write and check a pattern that depends on seed and place.
UNUSED static uint64_t pattern(uint64_t seed, size_t i) { return (seed + i) * 0x9e3779b97f4a7c15u; }
UNUSED static void fill(void *at, size_t size, uint64_t seed) {
	for (size_t i = 0; i < size / 8; i++)
		((uint64_t *)at)[i] = pattern(seed, i);
}
UNUSED static void holds(const char *what, const void *at, size_t size, uint64_t seed) {
	for (size_t i = 0; i < size / 8; i++) {
		uint64_t got = ((const uint64_t *)at)[i], want = pattern(seed, i);
		CHECK(got == want, "%s: word %zu is %#lx, want %#lx", what, i, got, want);
	}
}
UNUSED static void is_zero(const char *what, const void *at, size_t size) {
	for (size_t i = 0; i < size / 8; i++)
		CHECK(((const uint64_t *)at)[i] == 0, "%s: word %zu is not zero", what, i);
}

UNUSED static void *map(size_t size, int prot, int flags) {
	void *p = mmap(NULL, size, prot, flags, -1, 0);
	MUST(p != MAP_FAILED);
	return p;
}
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHANON (MAP_SHARED | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)
#define KiB 1024ul
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)
#define TiB (1024 * GiB)
#define PAGE 4096ul
#endif
