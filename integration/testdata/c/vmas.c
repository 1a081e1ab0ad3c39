// vmas: five thousand mappings.
#include "prog.h"

enum { N = 5000 };

int main(int argc, char **argv) {
	prog_init(argc, argv);
	char *m = map(2 * N * PAGE, PROT_NONE, ANON | MAP_NORESERVE);
	for (int i = 0; i < N / 2; i++) {
		MUST(mprotect(m + 4 * i * PAGE, PAGE, RW) == 0);
		*(int *)(m + 4 * i * PAGE) = i;
		MUST(mprotect(m + (4 * i + 2) * PAGE, PAGE, i % 2 ? PROT_READ : RW) == 0);
	}
	ready_wait();
	for (int i = 0; i < N / 2; i++) {
		CHECK(*(int *)(m + 4 * i * PAGE) == i, "mapping %d", i);
		MUST(*(int *)(m + (4 * i + 2) * PAGE) == 0);
	}
	ok();
}
