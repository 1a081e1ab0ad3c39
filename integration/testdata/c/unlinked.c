// unlinked: files without a name keep content, offset and sharing.
#include "prog.h"

int main(int argc, char **argv) {
	prog_init(argc, argv);
	static char buf[300000], got[300000];
	fill(buf, sizeof buf, 3);
	int fd = open("doomed", O_RDWR | O_CREAT | O_TRUNC, 0620);
	MUST(fd >= 0 && fchmod(fd, 0624) == 0);
	MUST(write(fd, buf, sizeof buf) == sizeof buf);
	MUST(ftruncate(fd, 20 * MiB) == 0 && pwrite(fd, "end", 3, 20 * MiB - 3) == 3); // a hole
	char self[64];
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	int ro = open(self, O_RDONLY); // the same file, another open file description
	lseek(fd, 1234, SEEK_SET), lseek(ro, 4321, SEEK_SET);
	unlink("doomed");
	int tmpfile = open(".", O_TMPFILE | O_RDWR, 0600);
	CHECK(tmpfile < 0 || write(tmpfile, "nameless", 8) == 8, "write to O_TMPFILE");
	ready_wait();
	struct stat st, st2;
	MUST(fstat(fd, &st) == 0 && fstat(ro, &st2) == 0);
	CHECK(st.st_ino == st2.st_ino && st.st_dev == st2.st_dev, "two descriptors of one file are two files");
	CHECK(st.st_nlink == 0 && st.st_size == 20 * (off_t)MiB && (st.st_mode & 07777) == 0624, "nlink %ld size %ld mode %o", (long)st.st_nlink,
	      (long)st.st_size, st.st_mode);
	MUST(lseek(fd, 0, SEEK_CUR) == 1234 && lseek(ro, 0, SEEK_CUR) == 4321);
	MUST(pread(ro, got, sizeof got, 0) == sizeof got);
	MUST(!memcmp(buf, got, sizeof buf));
	MUST(pread(ro, got, 3, 20 * MiB - 3) == 3 && !memcmp(got, "end", 3));
	MUST(pwrite(fd, "W", 1, 5) == 1 && pread(ro, got, 1, 5) == 1 && got[0] == 'W');
	if (tmpfile >= 0)
		MUST(pread(tmpfile, got, 8, 0) == 8 && !memcmp(got, "nameless", 8));
	MUST(access("doomed", F_OK));
	ok();
}
