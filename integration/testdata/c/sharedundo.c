// sharedundo: two processes share what they have to undo (CLONE_SYSVSEM). That
// must be refused by name.
#include "sysv.h"

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int sem = made("sem", semget(IPC_PRIVATE, 1, 0600));
	struct sembuf up = {0, 1, SEM_UNDO};
	MUST(semop(sem, &up, 1) == 0);
	pid_t c = syscall(SYS_clone, CLONE_SYSVSEM | SIGCHLD, NULL, NULL, NULL, NULL);
	MUST(c >= 0);
	if (c == 0) {
		wait_go();
		_exit(0);
	}
	ready_wait();
	must_exit(c, 0);
	MUST(semctl(sem, 0, GETVAL) == 1); // its end has undone nothing
	MUST(semctl(sem, 0, IPC_RMID) == 0);
	ok();
}
