// zombies: children that are dead but not waited for keep their statuses.
#include "prog.h"

static int exits(void *code) { return (long)code; }
static int dies(void *sig) {
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	raise((long)sig);
	return 1;
}
static void dead(pid_t pid) {
	siginfo_t si;
	MUST(waitid(P_PID, pid, &si, WEXITED | WNOWAIT) == 0);
}
static void status(pid_t pid, int want) {
	int st;
	CHECK(waitpid(pid, &st, 0) == pid && st == want, "zombie %d: status %#x, want %#x", pid, st, want);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	pid_t a = child(exits, (void *)37), b = child(dies, (void *)SIGTERM), c = child(dies, (void *)SIGKILL),
	      d = child(exits, (void *)0), e = child(dies, (void *)(long)(SIGRTMIN + 1));
	dead(a), dead(b), dead(c), dead(d), dead(e);
	ready_wait();
	siginfo_t si = {0};
	MUST(waitid(P_PID, b, &si, WEXITED | WNOWAIT) == 0);
	CHECK(si.si_code == CLD_KILLED && si.si_status == SIGTERM && si.si_pid == b && si.si_uid == getuid(),
	      "siginfo of a zombie: code %d status %d pid %d uid %d", si.si_code, si.si_status, si.si_pid, si.si_uid);
	status(e, SIGRTMIN + 1);
	status(a, 37 << 8);
	status(b, SIGTERM);
	status(c, SIGKILL);
	status(d, 0);
	MUST(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
	ok();
}
