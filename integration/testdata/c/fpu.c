// fpu: a floating-point loop whose every round must give the same bits, with
// rounding modes in mxcsr and the x87 control word that are not the default.
#include "prog.h"
#include <fenv.h>

static double round_of(void) {
	double x = 0.5;
	long double y = 0.25L;
	for (int i = 1; i < 20000; i++) {
		x = x * 3.9 * (1 - x) + 1e-18 * i;
		y = y * 3.8L * (1 - y) + 1e-22L * i;
		if (x >= 1 || x <= 0)
			x = 0.3;
	}
	return x + (double)y;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	fesetround(FE_UPWARD);
	unsigned csr = __builtin_ia32_stmxcsr() | 0x8000; // flush to zero
	__builtin_ia32_ldmxcsr(csr);
	unsigned short cw;
	__asm__ volatile("fnstcw %0" : "=m"(cw));
	double first = round_of();
	ready();
	long rounds = 0;
	for (; !went() || rounds < 10; rounds++) {
		double again = round_of();
		CHECK(memcmp(&again, &first, sizeof again) == 0, "round %ld: %a, want %a", rounds, again, first);
		unsigned short cw2;
		__asm__ volatile("fnstcw %0" : "=m"(cw2));
		CHECK(cw == cw2, "x87 control word %#x, was %#x", cw2, cw);
		CHECK((__builtin_ia32_stmxcsr() & ~0x3f) == (csr & ~0x3f), "mxcsr %#x, was %#x", __builtin_ia32_stmxcsr(), csr);
	}
	ok();
}
