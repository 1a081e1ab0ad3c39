// shared: anonymous memory that processes share, at other addresses and with
// other protections, is the same memory afterwards, and as large as before.
#include "prog.h"

enum { SIZE = 64 * 4096 };
static char *mem;
static volatile int *gate;

// moved has the memory at an address of its own and answers through it.
static int moved(void *unused UNUSED) {
	char *to = map(SIZE, PROT_NONE, ANON);
	char *m = mremap(mem, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	MUST(m == to);
	munmap(m + 8 * PAGE, PAGE); // a hole in this view only
	gate_pass(gate);
	wait_go();
	gate_wait(gate, 3);
	MUST(m[0] == 'P' && m[SIZE - 1] == 'Q');
	m[1] = 'M';
	gate_pass(gate);
	return 0;
}
static int reads(void *unused UNUSED) {
	MUST(mprotect(mem, SIZE, PROT_READ) == 0);
	gate_pass(gate);
	wait_go();
	gate_wait(gate, 4);
	MUST(mem[1] == 'M' && mem[0] == 'P');
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	mem = map(SIZE, RW, SHANON);
	fill(mem + 16 * PAGE, 16 * PAGE, 1);
	char *lone = map(4 * PAGE, RW, SHANON);
	fill(lone, 2 * PAGE, 2);
	pid_t a = child(moved, NULL), b = child(reads, NULL);
	char *twice = mremap(mem, 0, SIZE, MREMAP_MAYMOVE); // a second view here
	MUST(twice != MAP_FAILED);
	munmap(mem + 40 * PAGE, 8 * PAGE);
	gate_wait(gate, 2);
	ready_wait();
	holds("shared", mem + 16 * PAGE, 16 * PAGE, 1);
	is_zero("untouched shared", mem + 32 * PAGE, 8 * PAGE);
	holds("lone", lone, 2 * PAGE, 2);
	is_zero("rest of lone", lone + 2 * PAGE, 2 * PAGE);
	mem[0] = 'P';
	twice[SIZE - 1] = 'Q';
	MUST(twice[0] == 'P' && mem[SIZE - 1] == 'Q');
	gate_pass(gate);
	must_exit(a, 0), must_exit(b, 0);
	MUST(mem[1] == 'M');
	ok();
}
