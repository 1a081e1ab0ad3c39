// daemon: a double fork leaves a grandchild to the subreaper, the supervisor,
// and it is still part of the tree.
#include "prog.h"

static volatile int *gate;
static int demon(void *unused UNUSED) {
	setsid();
	if (fork())
		return 0;
	pid_t sid = getsid(0), pid = getpid();
	gate_pass(gate);
	wait_go();
	MUST(getsid(0) == sid && getpid() == pid);
	gate_pass(gate);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	must_exit(child(demon, NULL), 0);
	gate_wait(gate, 1);
	ready_wait();
	gate_wait(gate, 2);
	ok();
}
