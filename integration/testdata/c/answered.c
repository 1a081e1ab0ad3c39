// answered: under run --virtualize with answered.rules, every process and thread
// gets the answers of the rules, before a snapshot and after. "dead": the answerer is
// killed before the go signal. Then errors are as they were, other answers ENOSYS.
#include "prog.h"
#include <sys/ioctl.h>
#include <sys/mman.h>

static volatile int *gate;

static void errors(int fd) {
	char buf[16];
	MUST(mlockall(MCL_CURRENT) == -1 && errno == EPERM);
	MUST(syscall(SYS_perf_event_open, 0, 0, -1, -1, 0) == -1 && errno == ENOSYS);
	MUST(ioctl(fd, TIOCGWINSZ, buf) == -1 && errno == EXDEV);
	MUST(ioctl(fd, TIOCGPGRP, buf) == -1 && errno == ENOTTY);
}

static void asks(void) {
	int fd = open("/dev/null", O_RDWR);
	unsigned char buf[5] = {9, 9, 9, 9, 9};
	errors(fd);
	MUST(getuid() == 4242);
	MUST(ioctl(fd, 0x80045501, buf) == 9 && !memcmp(buf, "\x01\x02\x03\x04\x09", 5));
	MUST(ioctl(fd, 0x80045501, (void *)8) == -1 && errno == EFAULT);
	MUST(ioctl(fd, 0x5502, 0) == 7);
	MUST(ioctl(fd, 0x5503, 0) == -1 && errno == ENOTTY);
	close(fd);
	MUST(ioctl(0xfff, 0x5502, 0) == -1 && errno == EBADF);
}

static void *other(void *unused UNUSED) {
	asks();
	gate_pass(gate);
	wait_go();
	asks();
	gate_pass(gate);
	return NULL;
}

static int fellow(void *unused UNUSED) {
	other(NULL);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	pid_t pid = 0;
	int dead = argc > 3 && !strcmp(argv[3], "dead");
	if (!dead) {
		thread(other, NULL);
		pid = child(fellow, NULL);
		gate_wait(gate, 2);
	}
	asks();
	ready_wait();
	if (dead) {
		int fd = open("/dev/null", O_RDWR);
		errors(fd);
		MUST(syscall(SYS_getuid) == -1 && errno == ENOSYS);
		MUST(ioctl(fd, 0x5502, 0) == -1 && errno == ENOSYS);
		ok();
	}
	asks();
	gate_wait(gate, 4);
	must_exit(pid, 0);
	ok();
}
