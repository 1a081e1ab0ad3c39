// sparse: terabytes that are mapped but not there cost only the pages that are.
#include "prog.h"

int main(int argc, char **argv) {
	prog_init(argc, argv);
	char *m = map(TiB, RW, ANON | MAP_NORESERVE), *none = map(16 * TiB, PROT_NONE, ANON | MAP_NORESERVE);
	char *sh = map(64 * GiB, RW, SHANON | MAP_NORESERVE);
	for (int i = 0; i < 10; i++)
		fill(m + i * (TiB / 10 / PAGE * PAGE), PAGE, i), fill(sh + i * 6 * GiB, PAGE, 100 + i);
	fill(m + TiB - PAGE, PAGE, 10);
	MUST(mprotect(none + 5 * TiB, 2 * PAGE, RW) == 0);
	fill(none + 5 * TiB, PAGE, 11);
	for (int i = 0; i < 50; i++) // read, so the zero page is mapped, nothing more
		MUST(*(volatile char *)(m + GiB + i * PAGE) == 0);
	ready_wait();
	for (int i = 0; i < 10; i++) {
		char *at = m + i * (TiB / 10 / PAGE * PAGE);
		holds("touched page", at, PAGE, i);
		is_zero("page behind it", at + PAGE, PAGE);
		holds("touched shared page", sh + i * 6 * GiB, PAGE, 100 + i);
		is_zero("shared page behind it", sh + i * 6 * GiB + PAGE, PAGE);
	}
	holds("last page", m + TiB - PAGE, PAGE, 10);
	holds("page in the reserve", none + 5 * TiB, PAGE, 11);
	is_zero("page behind it", none + 5 * TiB + PAGE, PAGE);
	ok();
}
