// itimers: all three interval timers go on ticking, with their intervals.
#include "prog.h"

static volatile sig_atomic_t real, virt, prof;
static void tick(int sig) {
	if (sig == SIGALRM)
		real++;
	if (sig == SIGVTALRM)
		virt++;
	if (sig == SIGPROF)
		prof++;
}
static void has(int which, long usec) {
	struct itimerval it;
	MUST(getitimer(which, &it) == 0);
	CHECK(it.it_interval.tv_usec == usec && it.it_interval.tv_sec == 0, "timer %d: interval %ld us, want %ld", which,
	      (long)it.it_interval.tv_usec, usec);
}
static int has_none(void *unused UNUSED) {
	wait_go();
	struct itimerval it;
	MUST(getitimer(ITIMER_REAL, &it) == 0 && it.it_value.tv_sec == 0 && it.it_value.tv_usec == 0);
	return 0;
}
static int has_long(void *unused UNUSED) {
	wait_go();
	struct itimerval it;
	MUST(getitimer(ITIMER_REAL, &it) == 0);
	CHECK(it.it_value.tv_sec >= 900 && it.it_value.tv_sec <= 1000, "long timer has %ld s left", it.it_value.tv_sec);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	expect_eintr = 1;
	pid_t none = child(has_none, NULL);
	struct itimerval lng = {{0, 0}, {1000, 0}};
	setitimer(ITIMER_REAL, &lng, NULL);
	pid_t c = fork(); // timers are not inherited
	if (c == 0) {
		setitimer(ITIMER_REAL, &lng, NULL);
		_exit(has_long(NULL));
	}
	struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &sa, NULL), sigaction(SIGVTALRM, &sa, NULL), sigaction(SIGPROF, &sa, NULL);
	struct itimerval r = {{0, 52000}, {0, 52000}}, v = {{0, 12000}, {0, 12000}}, p = {{0, 20000}, {0, 20000}};
	setitimer(ITIMER_REAL, &r, NULL), setitimer(ITIMER_VIRTUAL, &v, NULL), setitimer(ITIMER_PROF, &p, NULL);
	ready_wait();
	has(ITIMER_REAL, 52000), has(ITIMER_VIRTUAL, 12000), has(ITIMER_PROF, 20000);
	real = virt = prof = 0;
	double until = now() + 20;
	while (real < 3 || virt < 3 || prof < 3)
		CHECK(now() < until, "ticks: real %d virtual %d prof %d", real, virt, prof);
	must_exit(none, 0), must_exit(c, 0);
	ok();
}
