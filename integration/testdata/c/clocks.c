// clocks: no clock jumps back, and none far ahead, while a thread looks at them
// all the time through the vDSO.
#include "prog.h"

static const clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE};
enum { N = sizeof ids / sizeof *ids };
static volatile int stop;

static void *hot(void *unused UNUSED) {
	double last[N] = {0};
	long rounds = 0;
	while (!stop || rounds < 100) {
		for (int i = 0; i < N; i++) {
			double t = now_on(ids[i]);
			CHECK(t >= last[i], "clock %d went back by %.6f s", ids[i], last[i] - t);
			CHECK(last[i] == 0 || t < last[i] + 120, "clock %d jumped %.3f s ahead", ids[i], t - last[i]);
			last[i] = t;
		}
		struct timeval tv;
		unsigned cpu, node;
		MUST(gettimeofday(&tv, NULL) == 0 && getcpu(&cpu, &node) == 0 && cpu < 4096);
		MUST(time(NULL) <= (time_t)last[2] + 2);
		rounds++;
	}
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	pthread_t a = thread(hot, NULL), b = thread(hot, NULL);
	double mono = now(), boot = now_on(CLOCK_BOOTTIME);
	ready_wait();
	double dm = now() - mono, db = now_on(CLOCK_BOOTTIME) - boot;
	CHECK(dm - db < 1 && db - dm < 1, "CLOCK_MONOTONIC went %.3f s, CLOCK_BOOTTIME %.3f s", dm, db);
	// The system call and the vDSO agree.
	struct timespec t;
	MUST(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t) == 0);
	double diff = now() - (t.tv_sec + t.tv_nsec / 1e9);
	CHECK(diff >= 0 && diff < 5, "vDSO and system call are %.6f s apart", diff);
	stop = 1;
	pthread_join(a, NULL), pthread_join(b, NULL);
	ok();
}
