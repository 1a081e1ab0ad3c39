// exclude.c: memory that the program has excluded is there in the original, and
// zeros in a copy; all around it is as it was. By supervise.h, the example in C.
#include "prog.h"
#include "supervise.h"

#define SIZE (4 * MiB)

static int generation(int fd) {
	char answer[4096];
	MUST(supervise_ask(fd, "\"request\":\"hello\",\"version\":1", answer, sizeof answer) == 0);
	const char *g = strstr(answer, "\"generation\":");
	MUST(g != NULL);
	return atoi(g + 13);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	char *mem = map(3 * SIZE, RW, ANON);
	fill(mem, 3 * SIZE, 7);
	int fd = supervise_open();
	MUST(fd >= 0);
	// Whole pages only: what is half in the range stays.
	MUST(supervise_exclude(fd, mem + SIZE - 100, SIZE + 200) == 0);
	MUST(supervise_exclude(fd, mem + 8, 100) != 0);
	MUST(supervise_hold(fd, 10000) == 0 && supervise_release(fd) == 0 && supervise_release(fd) != 0);
	ready_wait();
	int old = generation(fd); // by the connection that was there
	int fresh = supervise_open();
	MUST(fresh >= 0 && generation(fresh) == old);
	holds("before", mem, SIZE, 7);
	holds("behind", mem + 2 * SIZE, SIZE, 7 + 2 * SIZE / 8);
	if (old == 0)
		holds("excluded", mem + SIZE, SIZE, 7 + SIZE / 8);
	else
		is_zero("excluded", mem + SIZE, SIZE);
	ok();
}
