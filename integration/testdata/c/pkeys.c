// pkeys: a protection key, the pages that carry it, and the register that says
// what they allow.
#include "prog.h"

static volatile int faults;
static char *guarded;
static void on_segv(int sig UNUSED, siginfo_t *si, void *unused UNUSED) {
	CHECK(si->si_code == SEGV_PKUERR && si->si_addr == guarded, "fault code %d at %p", si->si_code, si->si_addr);
	if (faults++)
		fail("faulted again");
	mprotect(guarded, PAGE, RW); // also takes the key off
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int freed = pkey_alloc(0, 0), key = pkey_alloc(0, 0);
	if (key < 0) {
		ready_wait(); // no protection keys here
		ok();
	}
	struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
	sigaction(SIGSEGV, &sa, NULL);
	guarded = map(PAGE, RW, ANON);
	fill(guarded, PAGE, 5);
	MUST(pkey_mprotect(guarded, PAGE, RW, key) == 0);
	MUST(pkey_set(key, PKEY_DISABLE_WRITE) == 0 && pkey_free(freed) == 0);
	char *code = map(PAGE, RW, ANON);
	memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6); // mov $42, %eax; ret
	MUST(mprotect(code, PAGE, PROT_EXEC) == 0); // the kernel takes a key for it
	ready_wait();
	MUST(((int (*)(void))code)() == 42);
	CHECK(pkey_get(key) == PKEY_DISABLE_WRITE, "rights of key %d are %d", key, pkey_get(key));
	holds("guarded page", guarded, PAGE, 5);
	int next = pkey_alloc(0, 0);
	MUST(next > 0 && next != key && pkey_free(next) == 0 && pkey_free(next) == -1);
	*(volatile char *)guarded = 1;
	CHECK(faults == 1, "writing a guarded page faulted %d times", faults);
	ok();
}
