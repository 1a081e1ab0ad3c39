// sysv.h is what the programs with System V objects and message queues share. A killed program
// leaves its objects behind: it notes them, so that the test can remove them.
#ifndef SYSV_H
#define SYSV_H
#include "prog.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

// note notes an object of kind "shm", "sem", "msg" or "mq".
UNUSED static void note(const char *kind, const char *which) {
	char name[1100], line[100];
	snprintf(name, sizeof name, "%s.ipc", log_path);
	int n = snprintf(line, sizeof line, "%s %s\n", kind, which);
	int fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	MUST(fd >= 0 && write(fd, line, n) == n);
	close(fd);
}
UNUSED static int made(const char *kind, int id) {
	char which[20];
	CHECK(id >= 0, "make %s", kind);
	snprintf(which, sizeof which, "%d", id);
	note(kind, which);
	return id;
}

// new_key gives keys that nobody else has.
UNUSED static key_t new_key(void) {
	static int n;
	return 0x40000000 | getpid() << 6 | n++;
}
#endif
