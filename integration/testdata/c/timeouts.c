// timeouts: threads in every system call that waits for a time. None may come
// back early, or with EINTR.
#include "prog.h"
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>

#define WAIT 1.5
#define MS 1500
static const struct timespec rel = {1, 500000000};
static struct timespec absolute(clockid_t c) {
	struct timespec t;
	clock_gettime(c, &t);
	t.tv_sec += 1, t.tv_nsec += 500000000;
	if (t.tv_nsec >= 1000000000)
		t.tv_sec++, t.tv_nsec -= 1000000000;
	return t;
}

static int t_nanosleep(void) { struct timespec t = rel; return nanosleep(&t, &t); }
static int t_nanosleep_null(void) { return nanosleep(&rel, NULL); }
static int t_usleep(void) { return usleep(MS * 1000); }
static int t_clock_rel(void) { return clock_nanosleep(CLOCK_MONOTONIC, 0, &rel, NULL); }
static int t_clock_boot(void) { return clock_nanosleep(CLOCK_BOOTTIME, 0, &rel, NULL); }
static int t_clock_abs(void) { struct timespec t = absolute(CLOCK_MONOTONIC); return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL); }
static int t_clock_real(void) { struct timespec t = absolute(CLOCK_REALTIME); return clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL); }
static int t_poll(void) { return poll(NULL, 0, MS); }
static int t_ppoll(void) { return ppoll(NULL, 0, &rel, NULL); }
static int t_select(void) { struct timeval t = {1, 500000}; return select(0, NULL, NULL, NULL, &t); }
static int t_pselect(void) { return pselect(0, NULL, NULL, NULL, &rel, NULL); }
static int t_epoll(void) { struct epoll_event e; return epoll_wait(epoll_create1(0), &e, 1, MS); }
static int t_futex(void) {
	int word = 0;
	int n = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &rel, NULL, 0);
	return n == -1 && errno == ETIMEDOUT ? 0 : n ? n : 1;
}
static int t_sigtimedwait(void) {
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	int n = sigtimedwait(&s, NULL, &rel);
	return n == -1 && errno == EAGAIN ? 0 : n ? n : 1;
}
static int t_cond(void) {
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	struct timespec t = absolute(CLOCK_REALTIME);
	pthread_mutex_lock(&m);
	return pthread_cond_timedwait(&c, &m, &t) == ETIMEDOUT ? 0 : 1;
}
static int t_sem(void) {
	sem_t s;
	sem_init(&s, 0, 0);
	struct timespec t = absolute(CLOCK_REALTIME);
	return sem_timedwait(&s, &t) == -1 && errno == ETIMEDOUT ? 0 : 1;
}

// Waits for a time of day are measured in it: it goes on while a tree is gone.
static const struct wait {
	const char *name;
	int (*run)(void);
	clockid_t clock;
} waits[] = {
#define W(n) {#n, t_##n, CLOCK_MONOTONIC}
#define R(n) {#n, t_##n, CLOCK_REALTIME}
	W(nanosleep), W(nanosleep_null), W(usleep), W(clock_rel), W(clock_boot), W(clock_abs), R(clock_real), W(poll),
	W(ppoll), W(select), W(pselect), W(epoll), W(futex), W(sigtimedwait), R(cond), R(sem),
};
enum { N = sizeof waits / sizeof *waits };

static void *run(void *arg) {
	const struct wait *w = arg;
	double start = now_on(w->clock);
	errno = 0;
	int n = w->run();
	double took = now_on(w->clock) - start;
	CHECK(n == 0, "%s gave %d after %.3f s", w->name, n, took);
	CHECK(took >= WAIT - 0.002, "%s came back after %.3f s instead of %.1f", w->name, took, WAIT);
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	sigprocmask(SIG_BLOCK, &s, NULL);
	pthread_t t[N];
	for (int i = 0; i < N; i++)
		t[i] = thread(run, (void *)&waits[i]);
	ready_wait();
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	ok();
}
