// Words of shared memory that processes wait for. Errors do not go through errno,
// which is shared with CLONE_VM.
#ifndef WORD_H
#define WORD_H
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static void until(volatile int *word, int value) {
	for (int now; (now = *word) != value;)
		syscall(SYS_futex, word, FUTEX_WAIT, now, NULL, NULL, 0);
}
static void set(volatile int *word, int value) {
	*word = value;
	syscall(SYS_futex, word, FUTEX_WAKE, 100, NULL, NULL, 0);
}
#endif
