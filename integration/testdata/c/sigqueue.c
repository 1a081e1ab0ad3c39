// sigqueue: signals that are pending, for the process and for a thread, come
// out in order with all their data.
#include "prog.h"

enum { QUEUED = 40 };

static void take(sigset_t *set, int sig, int code, int value) {
	siginfo_t si;
	struct timespec none = {0, 0};
	// Not glibc's sigtimedwait, which makes SI_USER of SI_TKILL.
	int got = syscall(SYS_rt_sigtimedwait, set, &si, &none, 8);
	CHECK(got == sig, "signal %d, want %d", got, sig);
	CHECK(si.si_code == code, "signal %d: code %d, want %d", sig, si.si_code, code);
	CHECK(si.si_pid == getpid() && si.si_uid == getuid(), "signal %d: from %d uid %d", sig, si.si_pid, si.si_uid);
	if (code == SI_QUEUE)
		CHECK(si.si_int == value, "signal %d: value %d, want %d", sig, si.si_int, value);
}

static sigset_t rt, all;
static pthread_barrier_t setup;
static void *own(void *unused UNUSED) {
	for (int i = 0; i < QUEUED; i++) {
		union sigval v = {.sival_int = 5000 + i};
		MUST(pthread_sigqueue(pthread_self(), SIGRTMIN + 2, v) == 0);
	}
	MUST(pthread_kill(pthread_self(), SIGHUP) == 0);
	pthread_barrier_wait(&setup);
	wait_go();
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	for (int i = 0; i < QUEUED; i++)
		take(&set, SIGRTMIN + 2, SI_QUEUE, 5000 + i);
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	take(&set, SIGHUP, SI_TKILL, 0);
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	pthread_barrier_init(&setup, NULL, 2);
	pthread_t t = thread(own, NULL);
	for (int i = 0; i < QUEUED; i++) {
		union sigval v = {.sival_int = 1000 + i};
		MUST(sigqueue(getpid(), SIGRTMIN + 7, v) == 0);
		v.sival_int = 3000 + i;
		MUST(sigqueue(getpid(), SIGRTMIN + 4, v) == 0);
	}
	MUST(kill(getpid(), SIGUSR1) == 0);
	union sigval v = {.sival_int = 99};
	MUST(sigqueue(getpid(), SIGUSR2, v) == 0);
	pthread_barrier_wait(&setup);
	ready_wait();
	sigemptyset(&rt);
	sigaddset(&rt, SIGUSR1);
	sigaddset(&rt, SIGUSR2);
	sigaddset(&rt, SIGRTMIN + 4);
	sigaddset(&rt, SIGRTMIN + 7);
	take(&rt, SIGUSR1, SI_USER, 0);
	take(&rt, SIGUSR2, SI_QUEUE, 99);
	for (int i = 0; i < QUEUED; i++)
		take(&rt, SIGRTMIN + 4, SI_QUEUE, 3000 + i);
	for (int i = 0; i < QUEUED; i++)
		take(&rt, SIGRTMIN + 7, SI_QUEUE, 1000 + i);
	MUST(pthread_join(t, NULL) == 0);
	siginfo_t si;
	struct timespec none = {0, 0};
	MUST(sigtimedwait(&all, &si, &none) == -1 && errno == EAGAIN);
	ok();
}
