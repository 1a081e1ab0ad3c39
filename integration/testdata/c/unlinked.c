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
	char *priv = mmap(NULL, 16 * PAGE, RW, MAP_PRIVATE, fd, 0), *shar = mmap(NULL, 16 * PAGE, RW, MAP_SHARED, fd, 0);
	MUST(priv != MAP_FAILED && shar != MAP_FAILED);
	fill(priv + PAGE, PAGE, 4);
	fill(shar + 2 * PAGE, PAGE, 5);
	unlink("doomed");
	int tmpfile = open(".", O_TMPFILE | O_RDWR, 0600);
	CHECK(tmpfile < 0 || write(tmpfile, "nameless", 8) == 8, "write to O_TMPFILE");
	int lone = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600); // mapped only
	MUST(write(lone, buf, 8 * PAGE) == (ssize_t)(8 * PAGE));
	char *only = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE, lone, 0);
	close(lone), unlink("mapped");
	ready_wait();
	struct stat st, st2;
	MUST(fstat(fd, &st) == 0 && fstat(ro, &st2) == 0);
	CHECK(st.st_ino == st2.st_ino && st.st_dev == st2.st_dev, "two descriptors of one file are two files");
	CHECK(st.st_nlink == 0 && st.st_size == 20 * (off_t)MiB && (st.st_mode & 07777) == 0624, "nlink %ld size %ld mode %o", (long)st.st_nlink,
	      (long)st.st_size, st.st_mode);
	MUST(lseek(fd, 0, SEEK_CUR) == 1234 && lseek(ro, 0, SEEK_CUR) == 4321);
	MUST(pread(ro, got, sizeof got, 0) == sizeof got);
	memcpy(buf + 2 * PAGE, shar + 2 * PAGE, PAGE);
	MUST(!memcmp(buf, got, sizeof buf));
	MUST(pread(ro, got, 3, 20 * MiB - 3) == 3 && !memcmp(got, "end", 3));
	holds("private page", priv + PAGE, PAGE, 4);
	holds("shared page", shar + 2 * PAGE, PAGE, 5);
	MUST(pwrite(fd, "W", 1, 5) == 1 && shar[5] == 'W' && priv[5] == 'W');
	holds("mapped only", only, PAGE, 3);
	if (tmpfile >= 0)
		MUST(pread(tmpfile, got, 8, 0) == 8 && !memcmp(got, "nameless", 8));
	MUST(access("doomed", F_OK) && access("mapped", F_OK));
	ok();
}
