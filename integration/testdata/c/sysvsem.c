// sysvsem: System V semaphores keep ids, keys, modes, values, and who changed
// them last. What processes have to undo is undone when they end, also by a
// process with threads.
#include "sysv.h"

enum { N = 70 };
static int array, fresh, bare;
static key_t key;
static volatile int *gate;
static struct semid_ds was;

static void op(int num, int by, int flags) {
	struct sembuf o = {num, by, flags};
	CHECK(semop(array, &o, 1) == 0, "semop %d by %d", num, by);
}
static int get(int id, int num, int what) {
	int v = semctl(id, num, what);
	CHECK(v >= 0, "semctl %d", what);
	return v;
}
static void is(int num, int want) {
	int v = get(array, num, GETVAL);
	CHECK(v == want, "semaphore %d is %d, want %d", num, v, want);
}
static void set(int id, int num, int val) {
	union semun u = {.val = val};
	MUST(semctl(id, num, SETVAL, u) == 0);
}

static int takes(void *unused UNUSED) {
	op(0, -3, SEM_UNDO); // gives 3 back
	op(1, 5, SEM_UNDO);  // takes 5 back
	op(2, -1, SEM_UNDO);
	op(2, 1, 0); // gives one more
	op(69, 30000, SEM_UNDO);
	op(68, 32767, 0);
	op(68, -32767, SEM_UNDO);
	gate_pass(gate);
	wait_go();
	gate_wait(gate, 4);
	return 0;
}
static int dies(void *unused UNUSED) {
	op(5, 4, 0);
	return 0;
}
static void *in_thread(void *unused UNUSED) {
	op(3, -2, SEM_UNDO);
	gate_pass(gate);
	wait_go();
	return NULL;
}
static int threaded(void *unused UNUSED) {
	pthread_t t = thread(in_thread, NULL);
	pthread_join(t, NULL);
	is(3, 8); // not undone by the end of a thread
	gate_wait(gate, 3);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	key = new_key();
	array = made("sem", semget(key, N, IPC_CREAT | IPC_EXCL | 0660));
	fresh = made("sem", semget(IPC_PRIVATE, 2, 0600));
	bare = made("sem", semget(IPC_PRIVATE, 3, 0200 | 0400));
	set(bare, 1, 7);
	for (int i = 0; i < 5; i++)
		set(array, i, 10);
	pid_t dead = child(dies, NULL);
	must_exit(dead, 0);
	pid_t a = child(takes, NULL), b = child(threaded, NULL);
	gate_wait(gate, 2);
	op(4, -2, SEM_UNDO);
	union semun u = {.buf = &was};
	MUST(semctl(array, 0, IPC_STAT, u) == 0 && was.sem_otime != 0);
	ready_wait();

	struct semid_ds now;
	u.buf = &now;
	MUST(semctl(array, 0, IPC_STAT, u) == 0);
	MUST(now.sem_perm.__key == key && now.sem_perm.mode == was.sem_perm.mode && now.sem_perm.uid == was.sem_perm.uid);
	MUST(now.sem_perm.cuid == was.sem_perm.cuid && now.sem_perm.cgid == was.sem_perm.cgid && now.sem_nsems == N && now.sem_otime != 0);
	MUST(semget(key, N, 0) == array);
	is(0, 7), is(1, 15), is(2, 10), is(3, 8), is(4, 8), is(5, 4), is(6, 0), is(68, 0), is(69, 30000);
	CHECK(get(array, 0, GETPID) == a && get(array, 3, GETPID) == b && get(array, 4, GETPID) == getpid(), "last pids %d %d %d, want %d %d %d",
		get(array, 0, GETPID), get(array, 3, GETPID), get(array, 4, GETPID), a, b, getpid());
	CHECK(get(array, 5, GETPID) == dead && get(array, 6, GETPID) == 0, "dead %d", get(array, 5, GETPID));
	MUST(get(fresh, 0, GETPID) == 0 && get(fresh, 1, GETVAL) == 0);
	MUST(get(bare, 1, GETVAL) == 7 && get(bare, 1, GETPID) == getpid() && get(bare, 0, GETPID) == 0);
	u.buf = &now;
	MUST(semctl(bare, 0, IPC_STAT, u) == 0 && now.sem_otime == 0);
	gate_pass(gate);
	must_exit(b, 0);
	is(3, 10);
	gate_pass(gate);
	must_exit(a, 0);
	is(0, 10), is(1, 10), is(2, 11), is(69, 0), is(68, 32767);
	if (fork() == 0) // a fork does not inherit what there is to undo
		_exit(0);
	wait(NULL);
	is(4, 8);
	MUST(semctl(array, 0, IPC_RMID) == 0 && semctl(fresh, 0, IPC_RMID) == 0 && semctl(bare, 0, IPC_RMID) == 0);
	ok();
}
