// sysvshm: System V shared memory keeps ids, keys, owners, modes, content and
// attachments: several in one process and in several processes, read-only ones,
// parts of one, and of segments that are only there while they are attached.
#include "sysv.h"

enum { SIZE = 10 * 4096 };
static int keyed, doomed, closed, loose;
static key_t key;
static char *a, *ro, *d, *part;
static struct shmid_ds was_keyed, was_doomed, was_closed, was_loose;
static volatile int *gate;

static void same(const char *what, int id, const struct shmid_ds *was) {
	struct shmid_ds now;
	CHECK(shmctl(id, IPC_STAT, &now) == 0, "stat of %s", what);
	CHECK(now.shm_perm.__key == was->shm_perm.__key && now.shm_perm.mode == was->shm_perm.mode &&
		now.shm_perm.uid == was->shm_perm.uid && now.shm_perm.gid == was->shm_perm.gid &&
		now.shm_perm.cuid == was->shm_perm.cuid && now.shm_perm.cgid == was->shm_perm.cgid,
		"%s: key %#x mode %o uid %d gid %d", what, now.shm_perm.__key, now.shm_perm.mode, now.shm_perm.uid, now.shm_perm.gid);
	CHECK(now.shm_segsz == was->shm_segsz, "%s has %zu bytes", what, now.shm_segsz);
	CHECK(now.shm_nattch == was->shm_nattch, "%s is attached %lu times, was %lu", what, now.shm_nattch, was->shm_nattch);
	CHECK(now.shm_cpid == was->shm_cpid && now.shm_lpid == was->shm_lpid, "%s: cpid %d lpid %d, were %d %d", what,
		now.shm_cpid, now.shm_lpid, was->shm_cpid, was->shm_lpid);
}

static int other(void *unused UNUSED) {
	char *mine = shmat(keyed, NULL, 0); // a second view besides the inherited one
	MUST(mine != (void *)-1);
	MUST(munmap(mine + 2 * PAGE, 3 * PAGE) == 0);
	gate_pass(gate);
	wait_go();
	gate_wait(gate, 2);
	MUST(mine[0] == 'P' && a[0] == 'P' && ro[0] == 'P' && d[0] == 'D');
	mine[SIZE - 1] = 'C';
	d[1] = 'c';
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	key = new_key();
	keyed = made("shm", shmget(key, SIZE - 100, IPC_CREAT | IPC_EXCL | 0640));
	doomed = made("shm", shmget(new_key(), SIZE, IPC_CREAT | 0600));
	closed = made("shm", shmget(IPC_PRIVATE, SIZE, 0600));
	a = shmat(keyed, NULL, 0), ro = shmat(keyed, NULL, SHM_RDONLY), d = shmat(doomed, NULL, 0), part = shmat(closed, NULL, 0);
	MUST(a != (void *)-1 && ro != (void *)-1 && d != (void *)-1 && part != (void *)-1);
	fill(a, SIZE / 2, 1);
	fill(d, SIZE, 2);
	fill(part, SIZE, 3);
	loose = made("shm", shmget(new_key(), SIZE, IPC_CREAT | 0600));
	char *nowhere = shmat(loose, NULL, 0); // and not attached while it is looked at
	MUST(nowhere != (void *)-1);
	fill(nowhere, SIZE, 4);
	MUST(shmdt(nowhere) == 0);
	MUST(munmap(part + 7 * PAGE, PAGE) == 0); // nobody maps this page
	MUST(mprotect(part + PAGE, PAGE, PROT_READ) == 0);
	MUST(shmctl(doomed, IPC_RMID, NULL) == 0);
	MUST(shmctl(closed, IPC_STAT, &was_closed) == 0);
	was_closed.shm_perm.mode = 0400;
	MUST(shmctl(closed, IPC_SET, &was_closed) == 0);
	pid_t c = child(other, NULL);
	gate_wait(gate, 1);
	MUST(shmctl(keyed, IPC_STAT, &was_keyed) == 0 && shmctl(doomed, IPC_STAT, &was_doomed) == 0 && shmctl(closed, IPC_STAT, &was_closed) == 0);
	MUST(shmctl(loose, IPC_STAT, &was_loose) == 0);
	MUST(was_doomed.shm_perm.mode & SHM_DEST);
	ready_wait();

	MUST(shmget(key, 0, 0) == keyed);
	same("keyed", keyed, &was_keyed), same("doomed", doomed, &was_doomed), same("closed", closed, &was_closed), same("loose", loose, &was_loose);
	holds("keyed", a, SIZE / 2, 1), holds("read-only view", ro, SIZE / 2, 1);
	is_zero("rest of keyed", a + SIZE / 2, SIZE / 2);
	holds("doomed", d, SIZE, 2), holds("closed", part, 7 * PAGE, 3);
	char *whole = shmat(closed, NULL, SHM_RDONLY);
	nowhere = shmat(loose, NULL, SHM_RDONLY);
	MUST(whole != (void *)-1 && nowhere != (void *)-1);
	holds("all of closed", whole, SIZE, 3), holds("loose", nowhere, SIZE, 4);
	MUST(shmdt(whole) == 0 && shmdt(nowhere) == 0);
	MUST(mprotect(ro, PAGE, RW) == -1 && errno == EACCES);
	a[0] = 'P';
	d[0] = 'D';
	MUST(ro[0] == 'P');
	gate_pass(gate);
	must_exit(c, 0);
	MUST(ro[SIZE - 1] == 'C' && d[1] == 'c');
	MUST(shmdt(d) == 0);
	MUST(shmctl(doomed, IPC_STAT, &was_doomed) == -1 && (errno == EINVAL || errno == EIDRM));
	MUST(shmctl(keyed, IPC_RMID, NULL) == 0 && shmctl(closed, IPC_RMID, NULL) == 0 && shmctl(loose, IPC_RMID, NULL) == 0);
	ok();
}
