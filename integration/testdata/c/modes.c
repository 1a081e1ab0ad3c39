// modes: sealed mappings, guard pages, droppable and mergeable memory, locks on
// what cannot be read, and what holds for mappings to come, are as they were.
#include "prog.h"
#include <setjmp.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif
enum { GUARD_INSTALL = 102, SET_MERGE = 67, GET_MERGE = 68 };

static sigjmp_buf back;
static void on_fault(int sig UNUSED) { siglongjmp(back, 1); }
static int faults(volatile char *at) {
	if (sigsetjmp(back, 1))
		return 1;
	(void)*at;
	return 0;
}
// has tells whether smaps shows flag for the mapping at p.
static int has(void *p, const char *flag) {
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[600], want[8];
	int in = 0, found = -1;
	unsigned long a, b;
	snprintf(want, sizeof want, " %s ", flag);
	while (f && found < 0 && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			in = a <= (unsigned long)p && (unsigned long)p < b;
		if (in && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, want) != NULL;
	}
	MUST(f && found >= 0);
	fclose(f);
	return found;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int onfault = argc > 3 && !strcmp(argv[3], "onfault");
	signal(SIGSEGV, on_fault), signal(SIGBUS, on_fault);
	char *sealed = map(2 * PAGE, RW, ANON), *sealed_ro;
	fill(sealed, PAGE, 1);
	map(PAGE, PROT_NONE, ANON);
	int fd = open("/proc/self/exe", O_RDONLY);
	sealed_ro = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	MUST(sealed_ro != MAP_FAILED && close(fd) == 0);
	int can_seal = syscall(SYS_mseal, sealed, 2 * PAGE, 0) == 0 && syscall(SYS_mseal, sealed_ro, PAGE, 0) == 0;

	char *shared = map(4 * PAGE, RW, SHANON), *twice = mremap(shared, 0, 4 * PAGE, MREMAP_MAYMOVE);
	MUST(twice != MAP_FAILED);
	fill(shared, 4 * PAGE, 2);
	char *low = shared < twice ? shared : twice; // where a look from outside comes first
	twice = low == shared ? twice : shared, shared = low;
	int can_guard = madvise(shared + PAGE, PAGE, GUARD_INSTALL) == 0;
	char *grown = mremap(map(PAGE, RW, SHANON), PAGE, 3 * PAGE, MREMAP_MAYMOVE); // behind its end is nothing
	MUST(grown != MAP_FAILED);
	fill(grown, PAGE, 5);
	char *own = map(4 * PAGE, RW, ANON);
	fill(own, 4 * PAGE, 3);
	MUST(!can_guard || madvise(own + 2 * PAGE, PAGE, GUARD_INSTALL) == 0);
	char *drop = mmap(NULL, 2 * PAGE, RW, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	char *merge = map(2 * PAGE, RW, ANON);
	fill(merge, PAGE, 4);
	int can_merge = madvise(merge, 2 * PAGE, MADV_MERGEABLE) == 0;
	map(PAGE, PROT_NONE, ANON);
	char *locked = map(4 * PAGE, PROT_NONE, ANON);
	MUST(mlock(locked, 4 * PAGE) == -1 && errno == ENOMEM && has(locked, "lo"));
	int prctl_merge = prctl(SET_MERGE, 1, 0, 0, 0) == 0;
	MUST(mlockall(MCL_FUTURE | (onfault ? MCL_ONFAULT : 0)) == 0);
	ready_wait();

	holds("sealed", sealed, PAGE, 1);
	if (can_seal) {
		MUST(munmap(sealed, PAGE) == -1 && errno == EPERM);
		MUST(mprotect(sealed_ro, PAGE, PROT_NONE) == -1 && errno == EPERM);
	}
	if (can_guard) {
		MUST(faults(shared + PAGE) && faults(own + 2 * PAGE));
		holds("behind the guard page, seen elsewhere", twice, 4 * PAGE, 2);
		MUST(!faults(shared) && !faults(shared + 2 * PAGE) && !faults(own + PAGE) && !faults(own + 3 * PAGE));
	}
	holds("grown", grown, PAGE, 5);
	MUST(faults(grown + PAGE) && faults(grown + 2 * PAGE));
	holds("before the guard page", own, 2 * PAGE, 3);
	MUST(drop == MAP_FAILED || (has(drop, "dp") && has(drop, "wf")));
	MUST(!can_merge || has(merge, "mg"));
	holds("mergeable", merge, PAGE, 4);
	MUST(has(locked, "lo") && !has(sealed, "lo"));
	MUST(!prctl_merge || prctl(GET_MERGE, 0, 0, 0, 0) == 1);
	char *fresh = map(16 * PAGE, RW, ANON);
	unsigned char there = 0;
	MUST(has(fresh, "lo") && has(fresh, "lf") == onfault);
	MUST(mincore(fresh + 8 * PAGE, PAGE, &there) == 0 && (there & 1) == !onfault);
	ok();
}
