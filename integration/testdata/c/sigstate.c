// sigstate: masks of every thread, dispositions with their flags and masks,
// alternate stacks.
#include "prog.h"

static void handler(int sig UNUSED) {}
static void handler3(int sig UNUSED, siginfo_t *si UNUSED, void *u UNUSED) {}
struct kernel_sigaction {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};
static struct kernel_sigaction before[65], after[65];

static void actions(struct kernel_sigaction *to) {
	for (int s = 1; s <= 64; s++)
		MUST(syscall(SYS_rt_sigaction, s, NULL, &to[s], 8) == 0);
}

static pthread_barrier_t setup;
static void *masked(void *arg) {
	long id = (long)arg;
	uint64_t mask = 0x0101010101010100u << id & ~(1ul << 31), got;
	static char stacks[4][32768];
	stack_t alt = {.ss_sp = stacks[id], .ss_size = 16384 + id * 4096, .ss_flags = id == 3 ? 1u << 31 : 0}, alt2;
	MUST(sigaltstack(&alt, NULL) == 0);
	MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8) == 0);
	MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, 8) == 0);
	pthread_barrier_wait(&setup);
	wait_go();
	MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &got, 8) == 0);
	CHECK(got == mask, "thread %ld: mask %#lx, want %#lx", id, got, mask);
	MUST(sigaltstack(NULL, &alt2) == 0);
	CHECK(alt2.ss_sp == alt.ss_sp && alt2.ss_size == alt.ss_size && alt2.ss_flags == alt.ss_flags,
	      "thread %ld: altstack %p+%zu %#x, want %p+%zu %#x", id, alt2.ss_sp, alt2.ss_size, alt2.ss_flags,
	      alt.ss_sp, alt.ss_size, alt.ss_flags);
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_NODEFER};
	sigaddset(&sa.sa_mask, SIGHUP);
	sigaddset(&sa.sa_mask, SIGRTMAX);
	sigaction(SIGUSR1, &sa, NULL);
	struct sigaction si = {.sa_sigaction = handler3, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND};
	sigaction(SIGRTMIN + 3, &si, NULL);
	sigaction(SIGRTMAX, &si, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGWINCH, SIG_IGN);
	struct sigaction nc = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
	sigaction(SIGCHLD, &nc, NULL);
	pthread_t t[4];
	pthread_barrier_init(&setup, NULL, 5);
	for (long i = 0; i < 4; i++)
		t[i] = thread(masked, (void *)i);
	pthread_barrier_wait(&setup);
	actions(before); // now, since glibc takes a signal with the first thread
	ready_wait();
	actions(after);
	for (int s = 1; s <= 64; s++)
		CHECK(!memcmp(&before[s], &after[s], sizeof before[s]), "signal %d: handler %p flags %#lx mask %#lx, was %p %#lx %#lx", s,
		      after[s].handler, after[s].flags, after[s].mask, before[s].handler, before[s].flags, before[s].mask);
	for (int i = 0; i < 4; i++)
		MUST(pthread_join(t[i], NULL) == 0);
	ok();
}
