// devices: the memory devices and a few files of /proc and /sys, open.
#include "prog.h"

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY), full = open("/dev/full", O_WRONLY),
	    urandom = open("/dev/urandom", O_RDONLY), random = open("/dev/random", O_RDONLY);
	char *z = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, zero, 0); // is anonymous memory
	MUST(z != MAP_FAILED);
	fill(z, PAGE, 1);
	ready_wait();
	char c[8] = "xxxxxxx";
	MUST(write(null, "x", 1) == 1 && read(null, c, 1) == 0);
	MUST(read(zero, c, 8) == 8 && !c[0] && !c[7]);
	MUST(write(full, "x", 1) == -1 && errno == ENOSPC);
	MUST(read(urandom, c, 8) == 8 && read(random, c, 1) == 1);
	holds("mapped /dev/zero", z, PAGE, 1), is_zero("page behind it", z + PAGE, PAGE);
	ok();
}
