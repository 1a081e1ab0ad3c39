// novdso: a program that has unmapped [vdso], as Valgrind does, or with "all"
// [vvar] too. Bytes of its code are the same afterwards.
#include "prog.h"

static char before[64 * KiB], after[64 * KiB];

// kernels lists what the kernel has mapped by itself.
static void kernels(char *list) {
	char line[500];
	FILE *f = fopen("/proc/self/maps", "r");
	MUST(f);
	*list = 0;
	while (fgets(line, sizeof line, f))
		if (strstr(line, "[v"))
			strcat(list, line);
	fclose(f);
}

// unmap unmaps what has this name.
static void unmap(const char *name) {
	char line[500];
	FILE *f = fopen("/proc/self/maps", "r");
	MUST(f);
	while (fgets(line, sizeof line, f)) {
		unsigned long start, end;
		MUST(sscanf(line, "%lx-%lx", &start, &end) == 2);
		if (strstr(line, name))
			MUST(munmap((void *)start, end - start) == 0);
	}
	fclose(f);
}

// sum reads all code that comes from files, and what is behind it.
static uint64_t sum(void) {
	char line[500], perms[5];
	uint64_t s = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	MUST(f);
	while (fgets(line, sizeof line, f)) {
		unsigned long start, end, offset, ino;
		int n = sscanf(line, "%lx-%lx %4s %lx %*s %lu", &start, &end, perms, &offset, &ino);
		MUST(n == 5);
		if (strcmp(perms, "r-xp") || !ino)
			continue;
		for (unsigned long at = start; at < end; at += 8)
			s = (s ^ *(uint64_t *)at) * 0x9e3779b97f4a7c15u;
	}
	fclose(f);
	return s;
}

static void *sleeps(void *done) {
	double x = 1;
	while (!*(volatile int *)done) {
		x = x * 1.5 - 0.25;
		if (x > 1e6)
			x = 1;
		nap_ms(1);
	}
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	unmap("[vdso]");
	if (argc > 3)
		unmap("[vvar");
	kernels(before);
	MUST(!strstr(before, "[vdso]") && (argc > 3) == !strstr(before, "[vvar"));
	uint64_t code = sum();
	int done = 0;
	pthread_t t = thread(sleeps, &done);
	ready_wait();
	kernels(after);
	CHECK(strcmp(before, after) == 0, "mapped by the kernel: %s, before: %s", after, before);
	CHECK(sum() == code, "code has changed");
	done = 1;
	pthread_join(t, NULL);
	ok();
}
