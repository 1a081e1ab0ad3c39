// unlinkedmap: files without a name that are mapped keep their content.
#include "prog.h"

int main(int argc, char **argv) {
	prog_init(argc, argv);
	static char buf[16 * 4096];
	fill(buf, sizeof buf, 3);
	int fd = open("doomed", O_RDWR | O_CREAT | O_TRUNC, 0600), lone = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(write(fd, buf, sizeof buf) == sizeof buf && write(lone, buf, sizeof buf) == sizeof buf);
	char *priv = mmap(NULL, 16 * PAGE, RW, MAP_PRIVATE, fd, 0), *shar = mmap(NULL, 16 * PAGE, RW, MAP_SHARED, fd, 0);
	char *only = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE, lone, 0);
	MUST(priv != MAP_FAILED && shar != MAP_FAILED && only != MAP_FAILED);
	close(lone);
	fill(priv + PAGE, PAGE, 4), fill(shar + 2 * PAGE, PAGE, 5);
	unlink("doomed"), unlink("mapped");
	ready_wait();
	holds("private page", priv + PAGE, PAGE, 4);
	holds("shared page", shar + 2 * PAGE, PAGE, 5);
	holds("mapped only", only, 8 * PAGE, 3);
	MUST(pwrite(fd, "W", 1, 5) == 1 && shar[5] == 'W' && priv[5] == 'W');
	ok();
}
