// names: files whose names have changed since they were opened, a directory
// read halfway, files of /proc about processes of the tree, places that are not
// open, and pipes that are full.
#include "prog.h"
#include <dirent.h>

static int alias, moved, of_child, of_parent, of_self, sys, entries, place_link, place_dir, place_file;
static int big[2], packets[2];

static long field(int fd, int n) { // of a stat file
	char buf[1000] = {0}, *p;
	MUST(pread(fd, buf, sizeof buf - 1, 0) > 0);
	if (n == 1)
		return atol(buf);
	p = strrchr(buf, ')') + 2;
	for (int i = 3; i < n; i++)
		p = strchr(p, ' ') + 1;
	return atol(p);
}
static int looks(void *parent) {
	char name[64];
	snprintf(name, sizeof name, "/proc/%d/stat", (int)(long)parent);
	of_parent = open(name, O_RDONLY);
	MUST(of_parent >= 0);
	wait_go();
	MUST(field(of_parent, 1) == getppid() && getppid() == (pid_t)(long)parent);
	return 0;
}
static int entry(int dir, char *name) {
	char buf[64]; // one entry at a time, as names are long
	long n = syscall(SYS_getdents64, dir, buf, sizeof buf);
	if (n > 0)
		strcpy(name, buf + 19);
	return n > 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	MUST(!mkdir("d1", 0700) && !mkdir("many", 0700));
	alias = open("d1/one", O_RDWR | O_CREAT, 0600), moved = open("d1/two", O_RDWR | O_CREAT | O_APPEND, 0600);
	MUST(write(alias, "alias", 5) == 5 && write(moved, "moved", 5) == 5 && lseek(alias, 2, SEEK_SET) == 2);
	MUST(!link("d1/one", "d1/other name") && !unlink("d1/one") && !rename("d1/two", "d1/three") && !rename("d1", "d2"));
	char name[300], seen[64][64];
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "many/a file with a rather long name %02d", i);
		close(open(name, O_RDWR | O_CREAT, 0600));
	}
	entries = open("many", O_RDONLY | O_DIRECTORY);
	int n = 0;
	while (n < 20 && entry(entries, seen[n]))
		n++;
	pid_t c = child(looks, (void *)(long)getpid());
	snprintf(name, sizeof name, "/proc/%d/stat", c);
	of_child = open(name, O_RDONLY), of_self = open("/proc/self/stat", O_RDONLY), sys = open("/proc/sys/kernel/pid_max", O_RDONLY);
	MUST(!symlink("nowhere", "link"));
	place_link = open("link", O_PATH | O_NOFOLLOW), place_dir = open("many", O_PATH | O_DIRECTORY), place_file = open("d2/three", O_PATH | O_CLOEXEC);
	MUST(!pipe2(big, O_NONBLOCK) && !pipe2(packets, O_DIRECT | O_NONBLOCK));
	int size = fcntl(big[1], F_SETPIPE_SZ, MiB);
	MUST(size == (int)MiB);
	static char block[MiB], got[MiB];
	fill(block, sizeof block, 9);
	MUST(write(big[1], block, sizeof block) == sizeof block && write(big[1], "x", 1) == -1);
	int full = 0;
	while (write(packets[1], block, 1 + full % 4096) > 0)
		full++;
	MUST(of_child >= 0 && of_self >= 0 && sys >= 0 && place_link >= 0 && place_dir >= 0 && place_file >= 0 && full > 1);
	ready_wait();

	MUST(read(alias, got, 10) == 3 && !memcmp(got, "ias", 3) && write(alias, "!", 1) == 1);
	int again = open("d2/other name", O_RDONLY);
	MUST(read(again, got, 10) == 6 && !memcmp(got, "alias!", 6));
	MUST(pread(moved, got, 10, 0) == 5 && write(moved, "+", 1) == 1);
	struct stat st, st2;
	MUST(fstat(moved, &st) == 0 && st.st_size == 6 && fstat(place_file, &st2) == 0 && st.st_ino == st2.st_ino);
	for (; entry(entries, seen[n]); n++)
		for (int i = 0; i < n; i++)
			CHECK(strcmp(seen[i], seen[n]), "%s was read twice", seen[n]);
	CHECK(n == 42, "%d entries in the directory", n);
	CHECK(field(of_child, 1) == c && field(of_child, 4) == getpid(), "child is %ld of %ld", field(of_child, 1), field(of_child, 4));
	MUST(field(of_self, 1) == getpid() && read(sys, got, 20) > 0);
	MUST(fstat(place_link, &st) == 0 && S_ISLNK(st.st_mode) && openat(place_dir, "a file with a rather long name 07", O_RDONLY) >= 0);
	MUST(fcntl(place_file, F_GETFD) == FD_CLOEXEC && read(place_file, got, 1) == -1 && errno == EBADF);
	must_exit(c, 0);
	MUST(fcntl(big[0], F_GETPIPE_SZ) == (int)MiB && read(big[0], got, sizeof got) == sizeof got && !memcmp(got, block, sizeof got));
	for (int i = 0; i < full; i++) {
		ssize_t r = read(packets[0], got, sizeof got);
		CHECK(r == 1 + i % 4096 && !memcmp(got, block, r), "packet %d has %zd bytes", i, r);
	}
	MUST(read(packets[0], got, 1) == -1 && errno == EAGAIN);
	ok();
}
