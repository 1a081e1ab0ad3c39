// brk: the heap has its content and its end, and still grows and shrinks.
#include "prog.h"

int main(int argc, char **argv) {
	prog_init(argc, argv);
	void *nodes[200];
	for (int i = 0; i < 200; i++)
		nodes[i] = malloc(1000), fill(nodes[i], 1000, i);
	char *mine = sbrk(3 * MiB + 123);
	MUST(mine != (void *)-1);
	char *aligned = (char *)(((uintptr_t)mine + 7) & ~7ul);
	fill(aligned, 3 * MiB, 1);
	char *end = sbrk(0);
	ready_wait();
	CHECK(sbrk(0) == end, "brk is %p, was %p", sbrk(0), end);
	holds("heap", aligned, 3 * MiB, 1);
	for (int i = 0; i < 200; i++)
		holds("malloc", nodes[i], 1000, i), free(nodes[i]);
	char *more = sbrk(MiB);
	CHECK(more == end, "brk grew from %p, not %p: %m", more, end);
	is_zero("new heap", (char *)(((uintptr_t)more + 4095) & ~4095ul), MiB - PAGE);
	memset(more, 1, MiB);
	MUST(sbrk(-(long)(2 * MiB)) != (void *)-1 && (char *)sbrk(0) == end - MiB);
	void *m = malloc(300000);
	MUST(m);
	ok();
}
