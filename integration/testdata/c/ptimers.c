// ptimers: POSIX timers with their ids, ways to notify, intervals, overruns.
#include "prog.h"
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile sig_atomic_t ticks, value;
static volatile pid_t on_tid;
static void tick(int sig UNUSED, siginfo_t *si, void *uc UNUSED) {
	if (si->si_code == SI_TIMER)
		ticks++, value = si->si_int, on_tid = gettid();
}
static int create(clockid_t clock, int notify, int sig, int val, pid_t tid) {
	struct sigevent ev = {.sigev_notify = notify, .sigev_signo = sig, .sigev_value.sival_int = val};
	ev.sigev_notify_thread_id = tid;
	int id = -1;
	MUST(syscall(SYS_timer_create, clock, &ev, &id) == 0);
	return id;
}
static void set(int id, int flags, double first, double every) {
	struct itimerspec its = {{(long)every, (every - (long)every) * 1e9}, {(long)first, (first - (long)first) * 1e9}};
	MUST(syscall(SYS_timer_settime, id, flags, &its, NULL) == 0);
}
static struct itimerspec get(int id) {
	struct itimerspec its;
	CHECK(syscall(SYS_timer_gettime, id, &its) == 0, "timer %d is gone", id);
	return its;
}

static volatile pid_t ticker;
static void *sleeper(void *unused UNUSED) {
	ticker = gettid();
	wait_go();
	double until = now() + 20;
	while (ticks < 3) {
		CHECK(now() < until, "no ticks in the thread");
		nap_ms(5);
	}
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	expect_eintr = 1;
	struct sigaction sa = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGRTMIN + 1, &sa, NULL);
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	sigset_t early;
	MUST(sigemptyset(&early) == 0 && sigaddset(&early, SIGRTMIN + 3) == 0 && sigaddset(&early, SIGRTMIN + 4) == 0 && pthread_sigmask(SIG_BLOCK, &early, NULL) == 0);
	pthread_t t = thread(sleeper, NULL);
	while (!ticker)
		nap_ms(1);
	int a = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 2, 11, 0);
	int gap = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
	int b = create(CLOCK_REALTIME, SIGEV_THREAD_ID, SIGRTMIN + 1, 22, ticker);
	int c = create(CLOCK_BOOTTIME, SIGEV_NONE, 0, 0, 0);
	int d = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 44, 0); // never set
	int e = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
	MUST(syscall(SYS_timer_delete, gap) == 0);
	int f = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 3, 66, 0); // overran three times before it was taken, some hours ago perhaps
	int g = create(CLOCK_BOOTTIME, SIGEV_THREAD_ID, SIGRTMIN + 4, 77, gettid());
	double eighth = now() / 8;
	siginfo_t si;
	struct timespec wait = {20, 0};
	set(f, TIMER_ABSTIME, now() - 3.5 * eighth, eighth);
	MUST(sigtimedwait(&early, &si, &wait) == SIGRTMIN + 3 && si.si_overrun == 3);
	set(g, TIMER_ABSTIME, now_on(CLOCK_BOOTTIME) - 1.5 * eighth, eighth);
	MUST(sigtimedwait(&early, &si, &wait) == SIGRTMIN + 4 && si.si_overrun == 1);
	double left = get(f).it_value.tv_sec;
	set(a, 0, 0.001, 0.005);
	set(b, 0, 0.01, 0.03);
	set(c, 0, 1000, 17.5);
	set(e, TIMER_ABSTIME, now() + 5000, 0);
	nap_ms(60); // a has fired, is pending, and overruns
	ready_wait();
	ticks = 0;
	CHECK(syscall(SYS_timer_gettime, gap, &(struct itimerspec){0}) == -1 && errno == EINVAL, "a deleted timer exists");
	struct itimerspec its = get(c);
	CHECK(its.it_interval.tv_sec == 17 && its.it_interval.tv_nsec == 500000000, "interval %ld.%09ld", its.it_interval.tv_sec, its.it_interval.tv_nsec);
	CHECK(its.it_value.tv_sec > 900 && its.it_value.tv_sec <= 1000, "%ld s left of 1000", its.it_value.tv_sec);
	its = get(e);
	CHECK(its.it_value.tv_sec > 4900 && its.it_value.tv_sec <= 5000, "%ld s left of 5000", its.it_value.tv_sec);
	its = get(d);
	CHECK(its.it_value.tv_sec == 0 && its.it_value.tv_nsec == 0, "a timer that was not set is set");
	int overran = syscall(SYS_timer_getoverrun, f);
	CHECK(overran == 3 && get(f).it_value.tv_sec <= left && get(f).it_value.tv_sec > left - 100, "overrun %d, %ld s left, were %.0f", overran, get(f).it_value.tv_sec, left);
	overran = syscall(SYS_timer_getoverrun, g);
	CHECK(overran == 1, "overrun %d", overran);
	MUST(sigtimedwait(&early, &si, &(struct timespec){0}) == -1 && errno == EAGAIN);
	MUST(sigtimedwait(&blocked, &si, &wait) == SIGRTMIN + 2);
	CHECK(si.si_code == SI_TIMER && si.si_int == 11 && si.si_timerid == a, "siginfo: code %d value %d id %d", si.si_code, si.si_int, si.si_timerid);
	// How often a pending timer has overrun is not to be had from outside, so
	// after a restart the count of that begins anew.
	CHECK(si.si_overrun >= 0, "overrun %d", si.si_overrun);
	nap_ms(60);
	MUST(sigtimedwait(&blocked, &si, &wait) == SIGRTMIN + 2 && si.si_code == SI_TIMER);
	CHECK(si.si_overrun >= 5, "overrun %d of a timer that ticks every 5 ms", si.si_overrun);
	MUST(pthread_join(t, NULL) == 0);
	CHECK(value == 22 && on_tid == ticker, "value %d in thread %d, want 22 in %d", value, on_tid, ticker);
	int next = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
	CHECK(next != a && next != b && next != c && next != d && next != e, "new timer has the id %d of another", next);
	ok();
}
