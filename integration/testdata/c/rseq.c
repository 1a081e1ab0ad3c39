// rseq: one thread lives inside a restartable sequence and must be thrown out
// of it when its processor changes, others count with per-cpu sequences.
#include "prog.h"
#include <stddef.h>
#include <sys/rseq.h>

static volatile int stop;
static uint64_t counts[1024][16];
static long aborts, entered;

static volatile struct rseq *area(void) {
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

#define STR(x) #x
#define XSTR(x) STR(x)
#define CS_TABLE \
	".pushsection __rseq_cs, \"aw\"\n.balign 32\n3: .long 0, 0\n.quad 1f, (2f-1f), 4f\n.popsection\n"
#define CS_ABORT \
	".pushsection __rseq_failure, \"ax\"\n.byte 0x0f, 0xb9, 0x3d\n.long " XSTR(RSEQ_SIG) "\n4: jmp %l[abort]\n.popsection\n"

// live stays in one sequence as long as its processor stays the same. Returns
// 0 when told to stop, 1 when it was aborted, 2 when the processor changed
// without an abort, which must not happen.
static int live(volatile struct rseq *r, uint32_t cpu) {
	__asm__ goto(CS_TABLE
		"leaq 3b(%%rip), %%rax; movq %%rax, %c[cs](%[r])\n"
		"1: cmpl %[cpu], %c[id](%[r]); jne 4f\n"
		"5: pause; cmpl $0, %[stop]; jne 2f\n"
		"cmpl %[cpu], %c[id](%[r]); je 5b\n"
		"jmp %l[moved]\n"
		"2:\n" CS_ABORT
		: : [r] "r"(r), [cpu] "r"(cpu), [stop] "m"(stop), [cs] "i"(offsetof(struct rseq, rseq_cs)),
		  [id] "i"(offsetof(struct rseq, cpu_id))
		: "rax", "memory", "cc" : abort, moved);
	return 0;
abort:
	return 1;
moved:
	return 2;
}

static int count(volatile struct rseq *r, uint32_t cpu) {
	uint64_t *at = &counts[cpu][0];
	__asm__ goto(CS_TABLE
		"leaq 3b(%%rip), %%rax; movq %%rax, %c[cs](%[r])\n"
		"1: cmpl %[cpu], %c[id](%[r]); jne 4f\n"
		"movq (%[at]), %%rcx; pause; pause; pause; pause; addq $1, %%rcx\n"
		"movq %%rcx, (%[at])\n"
		"2:\n" CS_ABORT
		: : [r] "r"(r), [cpu] "r"(cpu), [at] "r"(at), [cs] "i"(offsetof(struct rseq, rseq_cs)),
		  [id] "i"(offsetof(struct rseq, cpu_id))
		: "rax", "rcx", "memory", "cc" : abort);
	return 1;
abort:
	return 0;
}

static void *lives(void *unused UNUSED) {
	volatile struct rseq *r = area();
	for (;;) {
		__atomic_add_fetch(&entered, 1, __ATOMIC_RELAXED);
		int how = live(r, r->cpu_id_start);
		CHECK(how != 2, "the processor changed inside a sequence without an abort");
		if (how == 0)
			return NULL;
		__atomic_add_fetch(&aborts, 1, __ATOMIC_RELAXED);
	}
}

static void *counts_up(void *unused UNUSED) {
	volatile struct rseq *r = area();
	long done = 0;
	while (!stop)
		done += count(r, r->cpu_id_start);
	return (void *)done;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	CHECK(__rseq_size > 0, "glibc did not register rseq");
	pthread_t l = thread(lives, NULL), c[3];
	for (int i = 0; i < 3; i++)
		c[i] = thread(counts_up, NULL);
	while (!__atomic_load_n(&entered, __ATOMIC_RELAXED))
		nap_ms(1);
	ready_wait();
	long before = __atomic_load_n(&aborts, __ATOMIC_RELAXED);
	double until = now() + 20;
	while (__atomic_load_n(&aborts, __ATOMIC_RELAXED) <= before) { // it is still registered
		CHECK(now() < until, "no abort within 20 s although threads outnumber processors");
		nap_ms(5);
	}
	stop = 1;
	long done = 0, sum = 0;
	for (int i = 0; i < 3; i++) {
		void *n;
		MUST(pthread_join(c[i], &n) == 0);
		done += (long)n;
	}
	MUST(pthread_join(l, NULL) == 0);
	for (int i = 0; i < 1024; i++)
		sum += counts[i][0];
	CHECK(sum == done, "counted %ld in %ld sequences", sum, done);
	ok();
}
