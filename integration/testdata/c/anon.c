// anon: private memory of all protections keeps its content, holes stay holes.
#include "prog.h"

static int data_word = 1;
static char bss[3 * 1024 * 1024];

int main(int argc, char **argv) {
	prog_init(argc, argv);
	char *big = map(16 * MiB, RW, ANON);
	fill(big, 8 * MiB, 1); // the rest stays untouched
	char *ro = map(8 * PAGE, RW, ANON), *none = map(8 * PAGE, RW, ANON), *wo = map(PAGE, RW, ANON), *parts = map(64 * PAGE, RW, ANON);
	fill(ro, 8 * PAGE, 2), fill(none, 8 * PAGE, 3), fill(wo, PAGE, 4), fill(parts, 64 * PAGE, 5), fill(bss, sizeof bss, 6);
	MUST(mprotect(ro, 8 * PAGE, PROT_READ) == 0);
	MUST(mprotect(none, 8 * PAGE, PROT_NONE) == 0);
	MUST(mprotect(wo, PAGE, PROT_WRITE) == 0);
	static const unsigned char code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; // mov $42,%eax; ret
	char *rwx = map(PAGE, RW | PROT_EXEC, ANON), *xonly = map(PAGE, RW, ANON);
	memcpy(rwx, code, sizeof code), memcpy(xonly, code, sizeof code);
	MUST(mprotect(xonly, PAGE, PROT_EXEC) == 0);
	char *low = mmap((void *)0x10000, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	MUST(low == (void *)0x10000);
	fill(low, PAGE, 7);
	char *named = map(2 * PAGE, RW, ANON);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, 2 * PAGE, "a name");
	fill(named, PAGE, 8);
	data_word = 77;
	for (int i = 0; i < 64; i += 4) // stripes, and holes, last, so that nothing is mapped there
		munmap(parts + i * PAGE, PAGE), mprotect(parts + (i + 2) * PAGE, PAGE, PROT_READ);
	ready_wait();
	holds("16 MiB", big, 8 * MiB, 1);
	is_zero("untouched half", big + 8 * MiB, 8 * MiB);
	holds("read-only", ro, 8 * PAGE, 2);
	MUST(mprotect(none, 8 * PAGE, PROT_READ) == 0 && mprotect(wo, PAGE, PROT_READ) == 0);
	holds("PROT_NONE", none, 8 * PAGE, 3);
	holds("write-only", wo, PAGE, 4);
	for (int i = 0; i < 64; i++) {
		unsigned char v;
		int mapped = mincore(parts + i * PAGE, PAGE, &v) == 0;
		CHECK(mapped == (i % 4 != 0), "page %d of the stripes", i);
		for (size_t k = 0; mapped && k < PAGE / 8; k++)
			MUST(((uint64_t *)(parts + i * PAGE))[k] == pattern(5, i * PAGE / 8 + k));
	}
	holds("bss", bss, sizeof bss, 6);
	holds("low page", low, PAGE, 7);
	holds("named", named, PAGE, 8);
	MUST(((int (*)(void))rwx)() == 42 && ((int (*)(void))xonly)() == 42);
	rwx[1] = 43;
	MUST(((int (*)(void))rwx)() == 43 && data_word == 77);
	fill(big, 16 * MiB, 9); // still writable
	ok();
}
