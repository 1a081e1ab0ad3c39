// onstack: the snapshot finds the program in a signal handler that runs on its
// alternate stack; it must return from there to what it interrupted.
#include "prog.h"

static char stack[65536];
static volatile int handled;

static void on_usr1(int sig, siginfo_t *si, void *uc) {
	char here;
	MUST(&here > stack && &here < stack + sizeof stack);
	MUST(sig == SIGUSR1 && si->si_pid == getpid() && uc);
	ready_wait();
	stack_t now_on;
	MUST(sigaltstack(NULL, &now_on) == 0);
	MUST(now_on.ss_flags == SS_ONSTACK && now_on.ss_sp == stack);
	sigset_t m;
	sigprocmask(SIG_SETMASK, NULL, &m);
	MUST(sigismember(&m, SIGUSR1) && sigismember(&m, SIGHUP) && !sigismember(&m, SIGUSR2));
	handled++;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
	MUST(sigaltstack(&alt, NULL) == 0);
	struct sigaction sa = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaddset(&sa.sa_mask, SIGHUP);
	sigaction(SIGUSR1, &sa, NULL);
	register double x = argc * 1.5; // lives across the handler in the signal frame
	double y = x;
	__asm__ volatile("" : "+x"(x));
	raise(SIGUSR1);
	__asm__ volatile("" : "+x"(x));
	MUST(x == y && handled == 1);
	stack_t after;
	MUST(sigaltstack(NULL, &after) == 0 && after.ss_flags == 0);
	sigset_t m;
	sigprocmask(SIG_SETMASK, NULL, &m);
	MUST(!sigismember(&m, SIGUSR1) && !sigismember(&m, SIGHUP));
	ok();
}
