// controls: what one call switches on for a thread or a process, each thread
// with its own: personality, no_new_privs, i/o priority, memory policy, reset on
// fork, speculation, system calls handled by the program itself.
#include "prog.h"
#include <sys/personality.h>
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#define MPOL_PREFERRED 1
#define MPOL_BIND 2
#define IOPRIO(class, level) ((class) << 13 | (level))

struct controls {
	unsigned persona;
	int nnp, ioprio, mempolicy, policy, spec;
};
static int get_ioprio(void) { return syscall(SYS_ioprio_get, 1, gettid()); }
static int get_mempolicy(unsigned long *nodes) {
	int mode = -1;
	unsigned long mask[16] = {0};
	if (syscall(SYS_get_mempolicy, &mode, mask, 1024, NULL, 0) != 0)
		return -1; // no NUMA
	*nodes = mask[0];
	return mode;
}
static int get_spec(void) { return prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0); }
static int get_nnp(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); }

static void set(const struct controls *c) {
	unsigned long node0 = 1;
	personality(c->persona);
	if (c->nnp)
		MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (c->ioprio)
		MUST(syscall(SYS_ioprio_set, 1, gettid(), c->ioprio) == 0);
	if (c->mempolicy)
		MUST(syscall(SYS_set_mempolicy, c->mempolicy, &node0, 64) == 0 || errno == ENOSYS);
	struct sched_param sp = {0};
	MUST(sched_setscheduler(0, c->policy, &sp) == 0);
	if (c->spec && (get_spec() & (PR_SPEC_PRCTL | PR_SPEC_FORCE_DISABLE)) == PR_SPEC_PRCTL)
		MUST(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0) == 0);
}
static void check(const struct controls *c, int spec) {
	unsigned long nodes = 0;
	CHECK(personality(0xffffffff) == (int)c->persona, "personality %#x, want %#x", personality(0xffffffff), c->persona);
	CHECK(get_nnp() == c->nnp, "no_new_privs %d, want %d", get_nnp(), c->nnp);
	if (c->ioprio)
		CHECK(get_ioprio() == c->ioprio, "i/o priority %#x, want %#x", get_ioprio(), c->ioprio);
	int mode = get_mempolicy(&nodes);
	CHECK(mode == -1 || (mode == c->mempolicy && nodes == !!mode), "memory policy %d nodes %#lx, want %d", mode, nodes, c->mempolicy);
	CHECK(sched_getscheduler(0) == c->policy, "policy %#x, want %#x", sched_getscheduler(0), c->policy);
	CHECK(get_spec() == spec, "speculation %#x, was %#x", get_spec(), spec);
}

static volatile int *gate;
static volatile char selector;
static volatile int dispatched;
static void on_sys(int sig UNUSED, siginfo_t *si, void *uc) {
	selector = 0;
	dispatched = si->si_syscall;
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RAX] = 4711;
}
static void *dispatching(void *unused UNUSED) {
	static const struct controls mine = {ADDR_COMPAT_LAYOUT, 1, IOPRIO(2, 6), MPOL_BIND, SCHED_BATCH, 1};
	set(&mine);
	int spec = get_spec();
	struct sigaction sa = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
	sigaction(SIGSYS, &sa, NULL);
	MUST(prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) == 0);
	gate_pass(gate);
	wait_go();
	check(&mine, spec);
	selector = 1; // SYSCALL_DISPATCH_FILTER_BLOCK
	long got = syscall(SYS_getppid);
	CHECK(got == 4711 && dispatched == SYS_getppid, "getppid gave %ld, %d was handled", got, dispatched);
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	static const struct controls mine = {ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS, 0, IOPRIO(2, 1), MPOL_PREFERRED,
	                                     SCHED_OTHER | SCHED_RESET_ON_FORK, 0};
	pthread_t t = thread(dispatching, NULL);
	gate_wait(gate, 1);
	set(&mine);
	int spec = get_spec();
	int mdwe = prctl(PR_SET_MDWE, 1, 0, 0, 0) == 0;
	ready_wait();
	check(&mine, spec);
	if (mdwe) {
		MUST(prctl(PR_GET_MDWE, 0, 0, 0, 0) == 1);
		void *p = map(PAGE, RW, ANON);
		MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC) == -1 && errno == EACCES);
	}
	MUST(pthread_join(t, NULL) == 0);
	ok();
}
