// dontdump: memory that the program has marked by MADV_DONTDUMP. The go file
// says what there is to be: "kept", or "zeros" in a copy that was made without it.
#include "prog.h"

#define SIZE (16 * MiB)

int main(int argc, char **argv) {
	prog_init(argc, argv);
	char *mem = map(3 * SIZE, RW, ANON);
	char *shared = map(SIZE, RW, SHANON);
	fill(mem, 3 * SIZE, 7);
	fill(shared, SIZE, 8);
	MUST(madvise(mem + SIZE, SIZE, MADV_DONTDUMP) == 0);
	MUST(madvise(shared, SIZE, MADV_DONTDUMP) == 0);
	ready();
	char want[16] = "";
	for (;; nap_ms(10)) {
		FILE *f = fopen(go_path, "r");
		int n = f ? fscanf(f, "%15s\n", want) : 0;
		if (f)
			fclose(f);
		if (n == 1)
			break;
	}
	holds("before", mem, SIZE, 7);
	holds("behind", mem + 2 * SIZE, SIZE, 7 + 2 * SIZE / 8);
	holds("shared", shared, SIZE, 8); // only private memory is left out
	if (strcmp(want, "zeros") == 0)
		is_zero("marked", mem + SIZE, SIZE);
	else
		holds("marked", mem + SIZE, SIZE, 7 + SIZE / 8);
	fill(mem + SIZE, SIZE, 7 + SIZE / 8);
	holds("filled again", mem + SIZE, SIZE, 7 + SIZE / 8);
	ok();
}
