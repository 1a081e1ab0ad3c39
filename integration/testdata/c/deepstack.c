// deepstack: a deep recursion waits at its bottom, returns through every frame,
// and the stack can grow further afterwards.
#include "prog.h"

static uint64_t down(int depth, int wait) {
	volatile uint64_t frame[126];
	for (int i = 0; i < 126; i++)
		frame[i] = pattern(depth, i);
	if (depth == 0 && wait)
		ready_wait();
	uint64_t below = depth ? down(depth - 1, wait) : 0;
	for (int i = 0; i < 126; i++)
		CHECK(frame[i] == pattern(depth, i), "frame %d changed", depth);
	return below + 1;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	MUST(down(5 * 1024, 1) == 5 * 1024 + 1);
	MUST(down(7 * 1024 - 300, 0) == 7 * 1024 - 299); // 2 MiB deeper than ever before
	ok();
}
