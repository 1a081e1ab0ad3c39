// groups: sessions and process groups of every shape, among them those whose
// leaders have exited; the kernel's rules about them still hold.
#include "prog.h"

static volatile int *gate;
static int stays(void *unused UNUSED) {
	gate_pass(gate);
	pid_t g = getpgrp(), s = getsid(0);
	wait_go();
	CHECK(getpgrp() == g && getsid(0) == s, "pgid %d sid %d, was %d %d", getpgrp(), getsid(0), g, s);
	return 4;
}
static int own_session(void *unused UNUSED) { // with a second group in it
	MUST(setsid() == getpid());
	pid_t c = fork();
	if (c == 0) {
		setpgid(0, 0);
		_exit(stays(NULL));
	}
	stays(NULL);
	must_exit(c, 4);
	return 5;
}
static int leaderless_group(void *unused UNUSED) { // its leader is a zombie, then gone
	pid_t leader = fork();
	if (leader == 0) {
		setpgid(0, 0);
		gate_wait(gate, 100);
		_exit(0);
	}
	setpgid(leader, leader);
	pid_t c = fork();
	if (c == 0) {
		MUST(setpgid(0, leader) == 0);
		_exit(stays(NULL));
	}
	pid_t lost = leader;
	while (getpgid(c) != leader)
		nap_ms(1);
	kill(leader, SIGKILL);
	waitpid(leader, NULL, 0);
	stays(NULL);
	MUST(getpgid(c) == lost || errno == ESRCH);
	must_exit(c, 4);
	return 6;
}
static int leaderless_session(void *unused UNUSED) { // orphan goes to main, a subreaper
	setsid();
	pid_t c = fork();
	if (c == 0) {
		gate_pass(gate);
		pid_t s = getsid(0);
		wait_go();
		CHECK(getsid(0) == s && s != getpid(), "sid %d, was %d", getsid(0), s);
		_exit(11);
	}
	return 0;
}
static int orphan_maker(void *unused UNUSED) {
	if (fork() == 0)
		_exit(12);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	setpgid(0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t a = child(own_session, NULL), b = child(leaderless_group, NULL), c = child(leaderless_session, NULL), d = child(stays, NULL);
	must_exit(c, 0);
	gate_wait(gate, 6);
	ready_wait();
	CHECK(setpgid(d, getpgid(a)) == -1 && (errno == EPERM || errno == ESRCH), "could move a child into a group of another session");
	must_exit(a, 5), must_exit(b, 6), must_exit(d, 4);
	int st;
	MUST(waitpid(-1, &st, 0) > 0 && WIFEXITED(st) && WEXITSTATUS(st) == 11);
	must_exit(child(orphan_maker, NULL), 0);
	MUST(waitpid(-1, &st, 0) > 0 && WIFEXITED(st) && WEXITSTATUS(st) == 12); // still a subreaper
	ok();
}
