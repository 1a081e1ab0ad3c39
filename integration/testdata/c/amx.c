// amx: tile registers, which are state of a size that needs a permission
// (arch_prctl ARCH_REQ_XCOMP_PERM), kept while the program spins.
#include "prog.h"
#define ARCH_GET_XCOMP_PERM 0x1022
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XTILEDATA 18

static volatile int stop;
static void *watch(void *unused UNUSED) {
	wait_go();
	stop = 1;
	return NULL;
}

struct config {
	uint8_t palette, start, rest[14];
	uint16_t colsb[16];
	uint8_t rows[16];
} __attribute__((packed));

static uint8_t in[1024] __attribute__((aligned(64))), out[1024] __attribute__((aligned(64)));

int main(int argc, char **argv) {
	prog_init(argc, argv);
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA)) {
		ready_wait(); // no AMX here: nothing to check
		ok();
	}
	uint64_t before = 0, after = 0;
	MUST(syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &before) == 0);
	struct config c = {.palette = 1};
	for (int i = 0; i < 8; i++)
		c.colsb[i] = 64, c.rows[i] = 16;
	fill(in, sizeof in, 42);
	thread(watch, NULL);
	ready();
	__asm__ volatile(
		"ldtilecfg %[cfg]\n"
		"tileloadd (%[in],%[stride],1), %%tmm0; tileloadd (%[in],%[stride],1), %%tmm7\n"
		"1: pause; cmpl $0, %[stop]; je 1b\n"
		"tilestored %%tmm7, (%[out],%[stride],1)\n"
		"tilerelease\n"
		: : [cfg] "m"(c), [in] "r"(in), [out] "r"(out), [stride] "r"(64l), [stop] "m"(stop) : "memory");
	holds("tile 7", out, sizeof out, 42);
	MUST(syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &after) == 0);
	CHECK(before == after, "xstate permission %#lx, was %#lx", after, before);
	ok();
}
