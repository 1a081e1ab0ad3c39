// holes: files of very many bytes of which few are there stay so, whether they
// have a name or not.
#include "prog.h"

enum { PARTS = 5 };
#define SIZE (300 * GiB + 12345)
static const off_t parts[PARTS] = {0, 5 * MiB, 3 * GiB + 7 * PAGE, 128 * GiB, SIZE / PAGE * PAGE};

static int make(const char *name) {
	char buf[PAGE];
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0640);
	MUST(fd >= 0 && ftruncate(fd, SIZE) == 0);
	for (int i = 0; i < PARTS; i++) {
		size_t n = parts[i] + PAGE > SIZE ? SIZE - parts[i] : PAGE;
		fill(buf, PAGE, i);
		MUST(pwrite(fd, buf, n, parts[i]) == (ssize_t)n);
	}
	// a hole where there was data, and space without data
	MUST(pwrite(fd, buf, PAGE, 64 * MiB) == (ssize_t)PAGE && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * MiB, PAGE) == 0);
	MUST(lseek(fd, 200 * GiB, SEEK_SET) == (off_t)(200 * GiB));
	return fd;
}
static void holds_parts(int fd, const char *what) {
	char buf[PAGE];
	struct stat st;
	MUST(fstat(fd, &st) == 0);
	CHECK(st.st_size == (off_t)SIZE && (st.st_mode & 07777) == 0640, "%s: size %ld mode %o", what, (long)st.st_size, st.st_mode);
	CHECK(st.st_blocks * 512 < (off_t)(64 * PAGE), "%s takes %ld bytes", what, (long)st.st_blocks * 512);
	MUST(lseek(fd, 0, SEEK_CUR) == (off_t)(200 * GiB));
	for (int i = 0; i < PARTS; i++) {
		size_t n = parts[i] + PAGE > SIZE ? SIZE - parts[i] : PAGE;
		MUST(pread(fd, buf, PAGE, parts[i]) == (ssize_t)n);
		holds(what, buf, n / 8 * 8, i);
		if (i + 1 < PARTS) {
			MUST(pread(fd, buf, PAGE, parts[i] + PAGE) == (ssize_t)PAGE);
			is_zero(what, buf, PAGE);
		}
	}
	MUST(pread(fd, buf, PAGE, 64 * MiB) == (ssize_t)PAGE);
	is_zero("punched hole", buf, PAGE);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int named = make("named"), nameless = make("nameless");
	MUST(unlink("nameless") == 0);
	int mem = memfd_create("holes", 0);
	MUST(mem >= 0 && ftruncate(mem, SIZE) == 0 && pwrite(mem, "x", 1, SIZE - 1) == 1);
	char *map = mmap(NULL, 200 * GiB, RW, MAP_SHARED | MAP_NORESERVE, nameless, 0);
	MUST(map != MAP_FAILED);
	ready_wait();
	holds_parts(named, "file"), holds_parts(nameless, "nameless file");
	struct stat st, byname;
	MUST(fstat(named, &st) == 0 && stat("named", &byname) == 0 && st.st_ino == byname.st_ino);
	MUST(fstat(mem, &st) == 0 && st.st_size == (off_t)SIZE && st.st_blocks * 512 <= (off_t)(4 * MiB));
	holds("mapped", map + 128 * GiB, PAGE, 3);
	ok();
}
