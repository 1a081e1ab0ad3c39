// tls: thread-local variables, errno and both segment bases of many threads.
#include "prog.h"
#include <asm/prctl.h>

enum { THREADS = 20 };
static __thread long mine = 7;
static __thread char big[5000];
static pthread_barrier_t setup;

static void *run(void *arg) {
	long id = (long)arg;
	mine = id * 1000;
	memset(big, id, sizeof big);
	unsigned long base = (unsigned long)big, got = 0, fs = 0, fs2 = 0;
	MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, base) == 0);
	MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) == 0);
	errno = 0;
	pthread_barrier_wait(&setup);
	wait_go();
	MUST(mine == id * 1000);
	for (size_t i = 0; i < sizeof big; i++)
		MUST(big[i] == (char)id);
	MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &got) == 0);
	CHECK(got == base, "gs base %#lx, want %#lx", got, base);
	MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs2) == 0 && fs == fs2);
	unsigned char through;
	__asm__ volatile("movb %%gs:17, %0" : "=r"(through));
	MUST(through == (unsigned char)id);
	errno = id;
	nap_ms(1);
	MUST(errno == id);
	return arg;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	pthread_barrier_init(&setup, NULL, THREADS + 1);
	pthread_t t[THREADS];
	for (long i = 0; i < THREADS; i++)
		t[i] = thread(run, (void *)(i + 1));
	pthread_barrier_wait(&setup);
	ready_wait();
	for (long i = 0; i < THREADS; i++) {
		void *got;
		MUST(pthread_join(t[i], &got) == 0 && (long)got == i + 1);
	}
	ok();
}
