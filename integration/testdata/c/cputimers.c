// cputimers: POSIX timers on clocks of cpu time, of the process, of single
// threads and of other threads, and signals that are more than the limit.
#include "prog.h"
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile int ticks[3];
static volatile pid_t ticked[3];
static void tick(int sig UNUSED, siginfo_t *si, void *uc UNUSED) {
	ticks[si->si_int]++;
	ticked[si->si_int] = gettid();
}
static int create(clockid_t clock, int notify, int val, pid_t tid) {
	struct sigevent ev = {.sigev_notify = notify, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = val};
	ev.sigev_notify_thread_id = tid;
	int id = -1;
	MUST(syscall(SYS_timer_create, clock, &ev, &id) == 0);
	return id;
}
static void arm(int id, double first, double every) {
	struct itimerspec its = {{(long)every, (every - (long)every) * 1e9}, {(long)first, (first - (long)first) * 1e9}};
	MUST(syscall(SYS_timer_settime, id, 0, &its, NULL) == 0);
}
static double left(int id) {
	struct itimerspec its;
	MUST(syscall(SYS_timer_gettime, id, &its) == 0);
	return its.it_value.tv_sec + its.it_value.tv_nsec / 1e9;
}
static void burn(clockid_t clock, double seconds) {
	for (double end = now_on(clock) + seconds; now_on(clock) < end;)
		;
}

static volatile pid_t worker;
static volatile int timer[2];
static pthread_barrier_t setup;
static void *work(void *unused UNUSED) {
	worker = gettid();
	timer[0] = create(CLOCK_THREAD_CPUTIME_ID, SIGEV_THREAD_ID, 0, worker);
	arm(timer[0], 0.15, 0.01);
	pthread_barrier_wait(&setup);
	wait_go();
	while (ticks[0] < 3) // only its own time counts
		burn(CLOCK_THREAD_CPUTIME_ID, 0.01);
	CHECK(ticked[0] == worker, "the tick of thread %d came to %d", worker, ticked[0]);
	pthread_barrier_wait(&setup);
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	expect_eintr = 1;
	struct sigaction sa = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGRTMIN + 1, &sa, NULL);
	sigset_t two;
	sigemptyset(&two);
	sigaddset(&two, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &two, NULL);
	pthread_barrier_init(&setup, NULL, 2);
	pthread_t t = thread(work, NULL);
	pthread_barrier_wait(&setup);
	clockid_t other;
	MUST(pthread_getcpuclockid(t, &other) == 0);
	int of_worker = create(other, SIGEV_NONE, 0, 0), process = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, 1, 0);
	arm(of_worker, 500, 0);
	arm(process, 1000, 3);
	for (int i = 0; i < 20; i++)
		MUST(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = i}) == 0);
	struct rlimit few = {3, 3}, now;
	MUST(setrlimit(RLIMIT_SIGPENDING, &few) == 0);
	ready_wait();
	MUST(getrlimit(RLIMIT_SIGPENDING, &now) == 0 && now.rlim_cur == 3 && now.rlim_max == 3);
	siginfo_t si;
	struct timespec none = {0, 0};
	for (int i = 0; i < 20; i++)
		MUST(sigtimedwait(&two, &si, &none) == SIGRTMIN + 2 && si.si_int == i);
	MUST(ticks[0] == 0);
	burn(CLOCK_PROCESS_CPUTIME_ID, 0.2); // not the worker's time
	pthread_barrier_wait(&setup);
	MUST(pthread_join(t, NULL) == 0);
	CHECK(left(process) > 990 && left(process) < 1000, "%f s left of 1000", left(process));
	arm(process, 0.05, 0);
	burn(CLOCK_PROCESS_CPUTIME_ID, 0.1);
	CHECK(ticks[1] == 1, "%d ticks of the process's timer", ticks[1]);
	MUST(syscall(SYS_timer_delete, of_worker) == 0);
	ok();
}
