// files: regular files and directories with offsets and flags, and open file
// descriptions that dup and fork share.
#include "prog.h"
#include <dirent.h>

static off_t at(int fd) { return lseek(fd, 0, SEEK_CUR); }
static int a, dupped, other, append, high, ro;
static volatile int *gate;

static int shares(void *unused UNUSED) {
	wait_go();
	gate_wait(gate, 1);
	CHECK(at(a) == 30, "offset in the child is %ld after the parent moved it to 30", at(a));
	MUST(write(a, "child", 5) == 5);
	MUST(fcntl(append, F_SETFL, O_APPEND | O_NONBLOCK) == 0); // flags are shared too
	gate_pass(gate);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	static char text[5000];
	memset(text, '.', sizeof text);
	a = open("a", O_RDWR | O_CREAT | O_TRUNC, 0640);
	MUST(write(a, text, sizeof text) == sizeof text);
	lseek(a, 10, SEEK_SET);
	dupped = dup(a);
	other = open("a", O_RDONLY | O_CLOEXEC);
	lseek(other, 77, SEEK_SET);
	append = open("log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	MUST(write(append, "one\n", 4) == 4);
	high = fcntl(a, F_DUPFD_CLOEXEC, 190);
	ro = open("a", O_RDONLY | O_NOATIME | O_NONBLOCK);
	lseek(ro, 1000000, SEEK_SET); // behind the end
	int path = open("a", O_PATH);
	int dir = open(".", O_RDONLY | O_DIRECTORY);
	int tmp = open("tmp", O_RDWR | O_CREAT | O_EXCL, 0600);
	int renamed = open("before", O_RDWR | O_CREAT, 0600);
	MUST(write(renamed, "kept", 4) == 4 && rename("before", "after") == 0);
	unlink("tmp");
	pid_t c = child(shares, NULL);
	ready_wait();
	MUST(at(a) == 10 && at(dupped) == 10 && at(high) == 10);
	MUST(at(other) == 77 && at(ro) == 1000000);
	lseek(dupped, 30, SEEK_SET);
	MUST(at(a) == 30 && at(high) == 30 && at(other) == 77);
	gate_pass(gate);
	gate_wait(gate, 2);
	CHECK(at(a) == 35, "offset %ld after the child wrote", at(a));
	CHECK(fcntl(append, F_GETFL) & O_NONBLOCK, "flags are not shared: %#x", fcntl(append, F_GETFL));
	must_exit(c, 0);
	MUST(fcntl(other, F_GETFD) == FD_CLOEXEC && fcntl(high, F_GETFD) == FD_CLOEXEC && fcntl(a, F_GETFD) == 0 && fcntl(ro, F_GETFD) == 0);
	CHECK((fcntl(ro, F_GETFL) & (O_ACCMODE | O_NOATIME | O_NONBLOCK)) == (O_RDONLY | O_NOATIME | O_NONBLOCK), "flags %#x", fcntl(ro, F_GETFL));
	CHECK(fcntl(path, F_GETFL) & O_PATH, "flags %#x", fcntl(path, F_GETFL));
	MUST(write(append, "two\n", 4) == 4);
	struct stat st;
	MUST(fstat(append, &st) == 0 && st.st_size == 8);
	MUST(fstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && openat(dir, "a", O_RDONLY) >= 0);
	char buf[6] = {0};
	MUST(pread(other, buf, 5, 30) == 5 && !strcmp(buf, "child"));
	MUST(pread(renamed, buf, 4, 0) == 4 && !memcmp(buf, "kept", 4));
	MUST(fstat(tmp, &st) == 0 && st.st_nlink == 0);
	int next = open("/dev/null", O_RDONLY);
	CHECK(next < 30, "lowest free descriptor is %d", next);
	ok();
}
