// sysvoutside: a child shares segments, an array and a queue with its parent.
// A snapshot of the child alone must be refused, and name them all.
#include "sysv.h"

static int shm, own, sem, queue;
static key_t key;
static char *at;
static void change(void) {
	struct sembuf up = {0, 1, 0};
	MUST(semop(sem, &up, 1) == 0);
}
static int uses(void *g) {
	struct {
		long type;
		char text[8];
	} m;
	struct sembuf two[2] = {{1, 1, 0}, {1, 1, 0}};
	MUST(semop(sem, two, 2) == 0);
	MUST(msgrcv(queue, &m, sizeof m.text, 0, 0) == 1);
	own = made("shm", shmget(key, 4096, IPC_CREAT | 0600));
	gate_pass(g);
	gate_wait(g, 2);
	MUST(shmat(own, NULL, 0) != (void *)-1);
	gate_pass(g);
	wait_go();
	at[1] = 'c';
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	volatile int *g = new_gate();
	key = new_key();
	shm = made("shm", shmget(IPC_PRIVATE, 4096, 0600));
	sem = made("sem", semget(IPC_PRIVATE, 2, 0600));
	queue = made("msg", msgget(IPC_PRIVATE, 0600));
	at = shmat(shm, NULL, 0);
	MUST(at != (void *)-1);
	struct {
		long type;
		char text[8];
	} m = {.type = 1};
	change();
	MUST(msgsnd(queue, &m, 1, 0) == 0);
	pid_t c = child(uses, (void *)g);
	gate_wait(g, 1);
	own = shmget(key, 0, 0);
	MUST(shmat(own, NULL, 0) != (void *)-1);
	gate_pass(g);
	gate_wait(g, 3);
	ready_wait();
	must_exit(c, 0);
	MUST(at[1] == 'c');
	MUST(shmctl(shm, IPC_RMID, NULL) == 0 && shmctl(own, IPC_RMID, NULL) == 0 && semctl(sem, 0, IPC_RMID) == 0 && msgctl(queue, IPC_RMID, NULL) == 0);
	ok();
}
