// numa: mappings keep their memory policies, and those without keep none.
#include "prog.h"

enum { BIND = 2, PREFERRED = 1, INTERLEAVE = 3, LOCAL = 4, STATIC = 1 << 15, ADDR = 2, N = 6 };

static int policy(void *at, unsigned long *nodes) {
	int mode = -1;
	unsigned long mask[16] = {0};
	CHECK(syscall(SYS_get_mempolicy, &mode, mask, 1024ul, at, ADDR) == 0, "get_mempolicy");
	*nodes = mask[0];
	return mode;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	unsigned long one = 1;
	static const struct { int mode, nodes; } want[N] = {{BIND, 1}, {PREFERRED, 1}, {INTERLEAVE | STATIC, 1}, {LOCAL, 0}, {PREFERRED, 0}, {0, 0}};
	char *m[2 * N];
	int modes[2 * N];
	unsigned long nodes[2 * N];
	for (int i = 0; i < 2 * N; i++) { // private, then shared
		m[i] = map(4 * PAGE, RW, i < N ? ANON : SHANON);
		map(PAGE, PROT_NONE, ANON);
		int mode = want[i % N].mode;
		long r = syscall(SYS_mbind, m[i], 4 * PAGE, mode, want[i % N].nodes ? &one : NULL, want[i % N].nodes ? 64ul : 0ul, 0);
		if (i == 0 && r && errno == ENOSYS) {
			ready_wait(); // no NUMA in this kernel
			ok();
		}
		CHECK(r == 0, "mbind %d", i);
		fill(m[i], PAGE, i);
		modes[i] = policy(m[i], &nodes[i]);
		CHECK(mode == 0 || modes[i] != 0, "policy %d is %#x", i, modes[i]);
	}
	syscall(SYS_set_mempolicy, INTERLEAVE, &one, 64ul); // the thread's, which is another's concern
	ready_wait();
	for (int i = 0; i < 2 * N; i++) {
		unsigned long now;
		int mode = policy(m[i], &now);
		CHECK(mode == modes[i] && now == nodes[i], "policy %d: %#x on %#lx, want %#x on %#lx", i, mode, now, modes[i], nodes[i]);
		holds("bound", m[i], PAGE, i);
	}
	ok();
}
