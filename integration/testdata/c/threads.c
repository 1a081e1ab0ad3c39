// threads: 200 named threads that pass a token under a mutex, half of them
// waiting on condition variables, half in short sleeps.
#include "prog.h"

enum { THREADS = 200 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long turn, passes, started;
static int stop;

static void *pass(void *arg) {
	long id = (long)arg;
	char name[16], got[16];
	snprintf(name, sizeof name, "worker-%ld", id);
	pthread_setname_np(pthread_self(), name);
	pid_t tid = gettid();
	pthread_mutex_lock(&lock);
	started++;
	while (!stop) {
		if (turn != id) {
			pthread_cond_wait(&changed, &lock);
			continue;
		}
		turn = (turn + 1) % THREADS;
		passes++;
		pthread_cond_broadcast(&changed);
		if (id % 50 == 0) {
			pthread_mutex_unlock(&lock);
			nap_ms(1);
			pthread_mutex_lock(&lock);
		}
	}
	pthread_mutex_unlock(&lock);
	CHECK(gettid() == tid, "tid %d, was %d", gettid(), tid);
	pthread_getname_np(pthread_self(), got, sizeof got);
	CHECK(!strcmp(name, got), "name %s, was %s", got, name);
	return arg;
}

static long passed(void) {
	pthread_mutex_lock(&lock);
	long p = passes;
	pthread_mutex_unlock(&lock);
	return p;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	pthread_t t[THREADS];
	turn = -1; // nobody's
	for (long i = 0; i < THREADS; i++)
		t[i] = thread(pass, (void *)i);
	for (;;) {
		pthread_mutex_lock(&lock);
		int all = started == THREADS;
		pthread_mutex_unlock(&lock);
		if (all)
			break;
		nap_ms(1);
	}
	pthread_mutex_lock(&lock);
	turn = 0;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	ready_wait();
	long p = passed();
	double until = now() + 20;
	while (passed() < p + 3) // it still goes round
		CHECK(now() < until, "no thread passes the token on");
	pthread_mutex_lock(&lock);
	stop = 1;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (long i = 0; i < THREADS; i++) {
		void *got;
		MUST(pthread_join(t[i], &got) == 0 && (long)got == i);
	}
	ok();
}
