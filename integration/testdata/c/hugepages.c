// hugepages: memory of huge pages, private, shared with a child, and of memfds
// with and without a descriptor, comes back as huge pages with its content.
#include "prog.h"

enum { SIZE = 4 << 20, HUGE = 2 << 20 };
static char *shar;
static volatile int *gate;

static void *huge(int prot, int flags, int fd) {
	void *p = mmap(NULL, SIZE, prot, flags, fd, 0);
	CHECK(p != MAP_FAILED, "no huge pages");
	return p;
}
static int other(void *unused UNUSED) {
	gate_pass(gate);
	wait_go();
	holds("shared, in the child", shar, PAGE, 3);
	fill(shar + HUGE, PAGE, 4);
	return 0;
}
// is_huge checks that a mapping has huge pages.
static void is_huge(void *p) {
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[600];
	unsigned long a, b, kb, in = 0, found = 0;
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			in = a <= (unsigned long)p && (unsigned long)p < b;
		if (in && sscanf(line, "KernelPageSize: %lu kB", &kb) == 1)
			found = kb;
	}
	CHECK(found == 2048, "pages of %lu kB", found);
	fclose(f);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	char *priv = huge(RW, ANON | MAP_HUGETLB, -1);
	fill(priv + 5 * PAGE, PAGE, 1), fill(priv + HUGE, PAGE, 2);
	MUST(mprotect(priv + HUGE, HUGE, PROT_READ) == 0);
	shar = huge(RW, SHANON | MAP_HUGETLB, -1);
	fill(shar, PAGE, 3);
	int fd = memfd_create("open", MFD_HUGETLB | MFD_ALLOW_SEALING), closed = memfd_create("closed", MFD_HUGETLB);
	MUST(fd >= 0 && closed >= 0 && ftruncate(fd, SIZE) == 0 && ftruncate(closed, HUGE) == 0);
	char *m = huge(RW, MAP_SHARED, fd);
	fill(m + PAGE, PAGE, 5), fill(m + HUGE, PAGE, 6);
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
	char *lone = mmap(NULL, HUGE, RW, MAP_SHARED, closed, 0);
	char *own = mmap(NULL, HUGE, RW, MAP_PRIVATE, fd, HUGE);
	MUST(lone != MAP_FAILED && own != MAP_FAILED);
	fill(lone, PAGE, 7), fill(own + PAGE, PAGE, 8);
	close(closed);
	pid_t pid = child(other, NULL);
	gate_wait(gate, 1);
	ready_wait();

	is_huge(priv), is_huge(shar), is_huge(m), is_huge(lone), is_huge(own);
	is_zero("untouched", priv, 5 * PAGE);
	holds("private", priv + 5 * PAGE, PAGE, 1), holds("private, read-only", priv + HUGE, PAGE, 2);
	must_exit(pid, 0);
	holds("shared", shar, PAGE, 3), holds("written by the child", shar + HUGE, PAGE, 4);
	holds("memfd", m + PAGE, PAGE, 5), holds("memfd, second page", m + HUGE, PAGE, 6);
	holds("memfd without descriptor", lone, PAGE, 7);
	holds("private view", own, PAGE, 6), holds("private view, written", own + PAGE, PAGE, 8);
	is_zero("memfd behind the private page", m + HUGE + PAGE, PAGE);
	MUST(fcntl(fd, F_GET_SEALS) == (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL));
	struct stat st;
	MUST(fstat(fd, &st) == 0 && st.st_size == SIZE);
	ok();
}
