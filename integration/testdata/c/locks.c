// locks: record locks, whole-file locks and open-file-description locks still
// keep others out, and only them.
#include "prog.h"
#include <sys/file.h>

static int posix_free(int fd, int start, int len) {
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	MUST(fcntl(fd, F_GETLK, &fl) == 0);
	return fl.l_type == F_UNLCK ? 0 : fl.l_pid;
}
static int tries(void *parent) {
	int fd = open("locked", O_RDWR), fl = open("flocked", O_RDWR), ofd = open("ofd", O_RDWR);
	wait_go();
	CHECK(posix_free(fd, 10, 5) == (int)(long)parent, "range is locked by %d", posix_free(fd, 10, 5));
	MUST(posix_free(fd, 0, 10) == 0 && posix_free(fd, 120, 1) == 0);
	MUST(posix_free(fd, 100, 1) == (int)(long)parent);
	MUST(flock(fl, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
	MUST(flock(fl, LOCK_SH | LOCK_NB) == 0); // theirs is shared
	struct flock o = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	MUST(fcntl(ofd, F_OFD_SETLK, &o) == -1 && (errno == EAGAIN || errno == EACCES));
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int fd = open("locked", O_RDWR | O_CREAT, 0600), fl = open("flocked", O_RDWR | O_CREAT, 0600), ofd = open("ofd", O_RDWR | O_CREAT, 0600);
	MUST(fd >= 0 && fl >= 0 && ofd >= 0);
	struct flock a = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5}, b = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 10};
	struct flock o = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	MUST(fcntl(fd, F_SETLK, &a) == 0 && fcntl(fd, F_SETLK, &b) == 0 && flock(fl, LOCK_SH) == 0 && fcntl(ofd, F_OFD_SETLK, &o) == 0);
	pid_t c = child(tries, (void *)(long)getpid());
	ready_wait();
	must_exit(c, 0);
	MUST(flock(fl, LOCK_EX | LOCK_NB) == 0); // still ours to change
	ok();
}
