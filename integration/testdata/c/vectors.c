// vectors: the whole of the vector registers, upper halves and mask registers
// too, is loaded once and compared again and again without leaving registers.
#include "prog.h"
#include <immintrin.h>

static volatile int stop;
static void *watch(void *unused UNUSED) {
	wait_go();
	stop = 1;
	return NULL;
}

static unsigned char seed[64] __attribute__((aligned(64)));
static unsigned char out[16][64] __attribute__((aligned(64)));

__attribute__((target("avx512f,avx512bw"), noinline)) static uint64_t spin512(void) {
	uint64_t k1 = 0x123456789abcdef1, k7 = 0xfedcba9876543217, out1 = 0, out7 = 0;
	__asm__ volatile(
		"kmovq %[k1], %%k1; kmovq %[k7], %%k7\n"
		"vmovdqa64 %[seed], %%zmm0\n"
		"vpaddd %%zmm0, %%zmm0, %%zmm7; vpaddd %%zmm0, %%zmm7, %%zmm15\n"
		"vpaddd %%zmm0, %%zmm15, %%zmm16; vpaddd %%zmm0, %%zmm16, %%zmm31\n"
		"1: pause; cmpl $0, %[stop]; je 1b\n"
		"vmovdqa64 %%zmm0, (%[out]); vmovdqa64 %%zmm7, 64(%[out]); vmovdqa64 %%zmm15, 128(%[out])\n"
		"vmovdqa64 %%zmm16, 192(%[out]); vmovdqa64 %%zmm31, 256(%[out])\n"
		"kmovq %%k1, %[o1]; kmovq %%k7, %[o7]\n"
		: [o1] "=&r"(out1), [o7] "=&r"(out7)
		: [k1] "r"(k1), [k7] "r"(k7), [seed] "m"(seed), [stop] "m"(stop), [out] "r"(out)
		: "memory", "xmm0", "xmm7", "xmm15");
	return out1 == k1 && out7 == k7;
}

__attribute__((target("avx2"), noinline)) static void spin256(void) {
	__asm__ volatile(
		"vmovdqa %[seed], %%ymm0\n"
		"vpaddd %%ymm0, %%ymm0, %%ymm7; vpaddd %%ymm0, %%ymm7, %%ymm15\n"
		"1: pause; cmpl $0, %[stop]; je 1b\n"
		"vmovdqa %%ymm0, (%[out]); vmovdqa %%ymm7, 64(%[out]); vmovdqa %%ymm15, 128(%[out])\n"
		: : [seed] "m"(seed), [stop] "m"(stop), [out] "r"(out) : "memory", "xmm0", "xmm7", "xmm15");
}

// sums checks that register i of out holds times[i] times the seed.
static void sums(int n, int size) {
	static const int times[] = {1, 2, 3, 4, 5};
	for (int i = 0; i < n; i++)
		for (int w = 0; w < size / 4; w++) {
			uint32_t got = ((uint32_t *)out[i])[w], want = times[i] * ((uint32_t *)seed)[w];
			CHECK(got == want, "vector %d word %d is %#x, want %#x", i, w, got, want);
		}
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	for (int i = 0; i < 64; i++)
		seed[i] = i * 37 + 11;
	thread(watch, NULL);
	ready();
	if (__builtin_cpu_supports("avx512bw")) {
		CHECK(spin512(), "mask registers changed");
		sums(5, 64);
	} else if (__builtin_cpu_supports("avx2")) {
		spin256();
		sums(3, 32);
	} else {
		wait_go();
	}
	ok();
}
