// vdso: the functions of the vDSO, found once and kept, go on telling what the
// system calls tell; "handler" waits in the handler of a signal that came while
// the program was in one of them.
#include "prog.h"
#include <elf.h>
#include <sys/auxv.h>
#include <ucontext.h>

typedef int clock_fn(clockid_t, struct timespec *);
typedef int tod_fn(struct timeval *, void *);
typedef time_t time_fn(time_t *);
typedef int cpu_fn(unsigned *, unsigned *, void *);
typedef ssize_t random_fn(void *, size_t, unsigned, void *, size_t);

static char *base;
static clock_fn *gettime, *getres;
static tod_fn *tod;
static time_fn *seconds;
static cpu_fn *cpu;
static random_fn *rnd;

// find looks a function up as libc does.
static void *find(const char *name) {
	Elf64_Ehdr *e = (void *)base;
	Elf64_Shdr *sections = (void *)(base + e->e_shoff);
	for (int i = 0; i < e->e_shnum; i++) {
		if (sections[i].sh_type != SHT_DYNSYM)
			continue;
		Elf64_Sym *s = (void *)(base + sections[i].sh_offset);
		char *names = base + sections[sections[i].sh_link].sh_offset;
		for (size_t k = 0; k < sections[i].sh_size / sizeof *s; k++)
			if (!strcmp(names + s[k].st_name, name))
				return base + s[k].st_value;
	}
	return NULL;
}

static double call(clockid_t clock) {
	struct timespec t;
	MUST(syscall(SYS_clock_gettime, clock, &t) == 0);
	return t.tv_sec + t.tv_nsec / 1e9;
}
static double fast(clockid_t clock) {
	struct timespec t;
	MUST(gettime(clock, &t) == 0);
	return t.tv_sec + t.tv_nsec / 1e9;
}
static void agree(void) {
	static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID};
	for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
		double a = call(clocks[i]), b = fast(clocks[i]), c = call(clocks[i]);
		CHECK(a <= b + 1e-6 && b <= c + 1e-6, "clock %d: %.9f, then %.9f, then %.9f", clocks[i], a, b, c);
	}
	struct timespec r, q;
	MUST(getres == NULL || (getres(CLOCK_MONOTONIC, &r) == 0 && syscall(SYS_clock_getres, CLOCK_MONOTONIC, &q) == 0 && r.tv_nsec == q.tv_nsec));
	struct timeval tv;
	double now = call(CLOCK_REALTIME);
	MUST(tod(&tv, NULL) == 0 && tv.tv_sec + tv.tv_usec / 1e6 - now < 60);
	MUST(seconds(NULL) - now < 60 && now - seconds(NULL) < 2);
	unsigned c = ~0u, n = ~0u;
	MUST(cpu(&c, &n, NULL) == 0 && c < 4096 && n < 4096);
	uint64_t word = 0, more = 0;
	if (rnd) {
		// Without memory of its own it makes the system call.
		MUST(rnd(&word, sizeof word, 0, NULL, 0) == sizeof word && rnd(&more, sizeof more, 0, NULL, 0) == sizeof more);
		MUST(word != more);
	}
}

static volatile int stop;
static void *busy(void *unused UNUSED) {
	double last = 0;
	while (!stop) {
		double t = fast(CLOCK_MONOTONIC);
		CHECK(t >= last, "the clock went back from %.9f to %.9f", last, t);
		last = t;
	}
	return NULL;
}

static volatile int caught;
static void on_alarm(int sig UNUSED, siginfo_t *si UNUSED, void *context) {
	char *pc = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	if (caught || pc < base + PAGE / 2 || pc >= base + 4 * PAGE || pc == (char *)gettime)
		return;
	caught = 1;
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	ready_wait();
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	base = (char *)getauxval(AT_SYSINFO_EHDR);
	MUST(base);
	gettime = (clock_fn *)find("__vdso_clock_gettime"), getres = (clock_fn *)find("__vdso_clock_getres");
	tod = (tod_fn *)find("__vdso_gettimeofday"), seconds = (time_fn *)find("__vdso_time"), cpu = (cpu_fn *)find("__vdso_getcpu");
	rnd = (random_fn *)find("__vdso_getrandom");
	MUST(gettime && tod && seconds && cpu);
	agree();
	if (argc > 3) {
		struct sigaction sa = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
		sigaction(SIGALRM, &sa, NULL);
		setitimer(ITIMER_REAL, &(struct itimerval){{0, 200}, {0, 200}}, NULL);
		while (!caught)
			fast(CLOCK_MONOTONIC);
		agree();
		ok();
	}
	pthread_t a = thread(busy, NULL), b = thread(busy, NULL);
	ready_wait();
	for (int i = 0; i < 1000; i++)
		agree();
	stop = 1;
	pthread_join(a, NULL), pthread_join(b, NULL);
	ok();
}
