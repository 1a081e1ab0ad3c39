// shm: memory of shm_open, with and without a descriptor, keeps its content and
// its name, and is the same memory in both processes.
#include "prog.h"

static volatile char *mem;
static volatile int *gate;
static char name[2][64];

static char *make(int i, int keep, int *fd) {
	snprintf(name[i], sizeof name[i], "/test-%d-%d", getpid(), i);
	*fd = shm_open(name[i], O_RDWR | O_CREAT | O_EXCL, 0640);
	MUST(*fd >= 0 && ftruncate(*fd, 3 * PAGE + 5) == 0);
	char *m = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, *fd, 0);
	MUST(m != MAP_FAILED);
	if (!keep)
		close(*fd);
	return m;
}
static int other(void *unused UNUSED) {
	gate_pass(gate);
	wait_go();
	gate_wait(gate, 2);
	MUST(mem[2 * PAGE] == 'P');
	mem[2 * PAGE] = 'C';
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int fd, closed;
	gate = new_gate();
	char *a = make(0, 1, &fd), *b = make(1, 0, &closed);
	fill(a, PAGE, 1), fill(b + PAGE, PAGE, 2);
	char *priv = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
	fill(priv + 2048, 1024, 3);
	mem = b;
	pid_t pid = child(other, NULL);
	gate_wait(gate, 1);
	ready_wait();
	holds("open", a, PAGE, 1), is_zero("hole", a + PAGE, PAGE);
	holds("mapped only", b + PAGE, PAGE, 2);
	holds("private", priv, 2048, 1), holds("private, written", priv + 2048, 1024, 3);
	mem[2 * PAGE] = 'P';
	gate_pass(gate);
	must_exit(pid, 0);
	MUST(mem[2 * PAGE] == 'C');
	a[7] = 'A';
	char c;
	MUST(pread(fd, &c, 1, 7) == 1 && c == 'A' && priv[4095] != 0);
	for (int i = 0; i < 2; i++) {
		int again = shm_open(name[i], O_RDWR, 0);
		struct stat st;
		CHECK(again >= 0 && fstat(again, &st) == 0, "%s is gone", name[i]);
		CHECK((st.st_mode & 0777) == 0640 && st.st_size == 3 * PAGE + 5, "mode %o, size %ld", st.st_mode, st.st_size);
		char *m = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, again, 0);
		MUST(m != MAP_FAILED && memcmp(m, i ? b : a, 3 * PAGE) == 0);
		MUST(shm_unlink(name[i]) == 0);
	}
	ok();
}
