// advice: what madvise and mlock set stays set; a fork shows that it works.
#include "prog.h"

static int fork_sees(char *wipe, char *gone) {
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		unsigned char v;
		is_zero("WIPEONFORK in a child", wipe, PAGE);
		MUST(mincore(gone, PAGE, &v) == -1 && errno == ENOMEM);
		_exit(9);
	}
	must_exit(pid, 9);
	return 0;
}
// flagged checks that smaps shows flag for the mapping at p.
static void flagged(const char *what, void *p, const char *flag) {
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[600], want[8];
	int in = 0;
	unsigned long a, b;
	snprintf(want, sizeof want, " %s ", flag);
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			in = a <= (unsigned long)p && (unsigned long)p < b;
		if (in && !strncmp(line, "VmFlags:", 8)) {
			CHECK(strstr(line, want), "%s: no flag %s in %s", what, flag, line);
			fclose(f);
			return;
		}
	}
	fail("%s: no mapping", what);
}
static void all(char **m) {
	flagged("DONTFORK", m[0], "dc"), flagged("WIPEONFORK", m[1], "wf"), flagged("DONTDUMP", m[2], "dd");
	flagged("SEQUENTIAL", m[3], "sr"), flagged("RANDOM", m[4], "rr"), flagged("HUGEPAGE", m[5], "hg");
	flagged("NOHUGEPAGE", m[6], "nh"), flagged("mlock", m[7], "lo"), flagged("mlock on fault", m[8], "lo");
	flagged("NORESERVE", m[9], "nr"), flagged("GROWSDOWN", m[10], "gd");
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	static const int advices[] = {MADV_DONTFORK, MADV_WIPEONFORK, MADV_DONTDUMP, MADV_SEQUENTIAL, MADV_RANDOM, MADV_HUGEPAGE, MADV_NOHUGEPAGE};
	char *m[11];
	for (int i = 0; i < 11; i++) {
		int flags = ANON | (i == 9 ? MAP_NORESERVE : 0) | (i == 10 ? MAP_GROWSDOWN : 0);
		map(2 * PAGE, PROT_NONE, ANON); // keeps neighbours from merging
		m[i] = map(2 * MiB, RW, flags);
		fill(m[i], PAGE, i);
		if (i < 7 && madvise(m[i], 2 * MiB, advices[i]))
			CHECK(i == 5 || i == 6, "madvise %d", advices[i]);
	}
	munmap(m[7] + 4 * PAGE, 2 * MiB - 4 * PAGE), munmap(m[8] + 4 * PAGE, 2 * MiB - 4 * PAGE); // small: RLIMIT_MEMLOCK
	MUST(mlock(m[7], 4 * PAGE) == 0 && mlock2(m[8], 4 * PAGE, MLOCK_ONFAULT) == 0);
	all(m);
	fork_sees(m[1], m[0]);
	ready_wait();
	for (int i = 0; i < 11; i++)
		holds("advised", m[i], PAGE, i), is_zero("page behind it", m[i] + PAGE, PAGE);
	all(m);
	fork_sees(m[1], m[0]);
	ok();
}
