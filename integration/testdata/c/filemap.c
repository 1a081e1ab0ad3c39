// filemap: private mappings keep written pages and still show the file in the
// others, shared mappings still write to the file.
#include "prog.h"

enum { PAGES = 32 };

int main(int argc, char **argv) {
	prog_init(argc, argv);
	static char buf[PAGES * 4096];
	fill(buf, sizeof buf, 1);
	int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(write(fd, buf, sizeof buf - 1000) == sizeof buf - 1000); // the last page is partial
	char *priv = mmap(NULL, sizeof buf, RW, MAP_PRIVATE, fd, 0), *shar = mmap(NULL, sizeof buf, RW, MAP_SHARED, fd, 0);
	char *part = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 8 * PAGE), *rosh = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 4 * PAGE);
	MUST(priv != MAP_FAILED && shar != MAP_FAILED && part != MAP_FAILED && rosh != MAP_FAILED);
	close(fd);
	for (int i = 0; i < PAGES; i += 3)
		fill(priv + i * PAGE, PAGE, 100 + i);
	memset(priv + PAGES * PAGE - 500, 'T', 100); // behind the end of the file
	MUST(mprotect(priv + 6 * PAGE, PAGE, PROT_READ) == 0);
	MUST(mprotect(priv + 9 * PAGE, PAGE, PROT_NONE) == 0);
	fill(shar + 5 * PAGE, PAGE, 50);
	ready_wait();
	MUST(mprotect(priv + 9 * PAGE, PAGE, PROT_READ) == 0);
	for (int i = 0; i < PAGES - 1; i++)
		if (i % 3 == 0)
			holds("written private page", priv + i * PAGE, PAGE, 100 + i);
		else if (i != 5)
			for (size_t k = 0; k < PAGE / 8; k++)
				CHECK(((uint64_t *)(priv + i * PAGE))[k] == pattern(1, i * PAGE / 8 + k), "page %d of the private mapping", i);
	for (int i = 0; i < 100; i++)
		MUST(priv[PAGES * PAGE - 500 + i] == 'T');
	holds("shared page", shar + 5 * PAGE, PAGE, 50);
	holds("shared page in the private view", priv + 5 * PAGE, PAGE, 50);
	holds("shared page in the second view", rosh + PAGE, PAGE, 50);
	MUST(((uint64_t *)part)[0] == pattern(1, 8 * PAGE / 8));
	shar[7 * PAGE] = 'S';
	MUST(priv[7 * PAGE] == 'S');
	fd = open("mapped", O_RDONLY);
	char c = 0;
	MUST(pread(fd, &c, 1, 7 * PAGE) == 1 && c == 'S');
	ok();
}
