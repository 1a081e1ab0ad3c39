// stopped: stopped children, whose parent knows of it or not yet, go on with
// SIGCONT.
#include "prog.h"

static int stops(void *code) {
	raise(SIGSTOP);
	return (long)code;
}
static void *stop_thread(void *unused UNUSED) {
	pause();
	return NULL;
}
static int stops_threads(void *code) {
	thread(stop_thread, NULL);
	raise(SIGSTOP);
	return (long)code;
}
static void in_state(pid_t pid, int flags, int code, int status) {
	siginfo_t si = {0};
	MUST(waitid(P_PID, pid, &si, flags) == 0);
	CHECK(si.si_code == code && si.si_status == status && si.si_pid == pid, "child %d: code %d status %d", pid, si.si_code, si.si_status);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	pid_t told = child(stops, (void *)5), untold = child(stops, (void *)6), many = child(stops_threads, (void *)7);
	in_state(told, WSTOPPED, CLD_STOPPED, SIGSTOP);
	in_state(untold, WSTOPPED | WNOWAIT, CLD_STOPPED, SIGSTOP);
	in_state(many, WSTOPPED, CLD_STOPPED, SIGSTOP);
	ready_wait();
	siginfo_t si = {0};
	MUST(waitid(P_PID, told, &si, WSTOPPED | WNOHANG) == 0 && si.si_pid == 0);
	in_state(untold, WSTOPPED, CLD_STOPPED, SIGSTOP);
	nap_ms(50); // a stopped child does not run
	MUST(waitid(P_ALL, 0, &si, WEXITED | WNOHANG) == 0);
	CHECK(si.si_pid == 0, "stopped child %d went on by itself", si.si_pid);
	kill(told, SIGCONT), kill(untold, SIGCONT), kill(many, SIGCONT);
	must_exit(told, 5), must_exit(untold, 6), must_exit(many, 7);
	ok();
}
