// replaced: a program and a library that were deleted and replaced while they
// run go on from the old ones, and so does a fork that has written elsewhere.
#include "prog.h"
#include <setjmp.h>

static sigjmp_buf back;
static void on_bus(int sig UNUSED) { siglongjmp(back, 1); }
static void no_page(const char *what, volatile char *at) {
	if (sigsetjmp(back, 1) == 0)
		fail("%s: there is a page with %d", what, *at);
}

static void put(const char *name, const void *buf, size_t size) {
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	MUST(fd >= 0 && write(fd, buf, size) == (ssize_t)size);
	close(fd);
}
static char *view(const char *name, size_t size, int prot, int flags) {
	int fd = open(name, flags & MAP_SHARED && prot & PROT_WRITE ? O_RDWR : O_RDONLY);
	char *m = mmap(NULL, size, prot, flags, fd, 0);
	MUST(fd >= 0 && m != MAP_FAILED);
	close(fd);
	return m;
}

// again runs the program from a copy, which it then replaces.
static void again(char **argv) {
	static char buf[4 * MiB];
	int fd = open("/proc/self/exe", O_RDONLY);
	ssize_t n = read(fd, buf, sizeof buf);
	MUST(n > 0 && n < (ssize_t)sizeof buf);
	close(fd);
	put("copy", buf, n);
	execv("copy", (char *[]){argv[0], argv[1], argv[2], "again", NULL});
	fail("exec");
}

static char *lib, *code, *shar;
static volatile int *gate;

static int other(void *unused UNUSED) {
	fill(lib + PAGE, PAGE, 11);
	gate_pass(gate);
	wait_go();
	holds("written by the child", lib + PAGE, PAGE, 11);
	holds("written by the parent, in the child", lib + 2 * PAGE, PAGE, 2);
	gate_wait(gate, 2);
	MUST(shar[3] == 'P');
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	if (argc == 3)
		again(argv);
	unlink("copy");
	put("copy", "other", 5);
	signal(SIGBUS, on_bus);
	gate = new_gate();
	static char buf[4 * 4096] = "\xb8\x2a\x00\x00\x00\xc3"; // mov $42, %eax; ret
	for (int i = 1; i < 4; i++)
		fill(buf + i * PAGE, PAGE, i);
	put("lib", buf, sizeof buf), put("shared", buf, sizeof buf), put("short", buf, PAGE + 100), put("ro", buf, PAGE);
	code = view("lib", PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE);
	lib = view("lib", 4 * PAGE, RW, MAP_PRIVATE);
	shar = view("shared", 4 * PAGE, RW, MAP_SHARED);
	char *brief = view("short", 4 * PAGE, PROT_READ, MAP_PRIVATE), *ro = view("ro", PAGE, PROT_READ, MAP_SHARED);
	int memfd = memfd_create("brief", MFD_CLOEXEC);
	MUST(ftruncate(memfd, 2 * PAGE) == 0);
	char *mem = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, memfd, 0), *mine = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, memfd, 0);
	fill(mem, PAGE, 6), fill(mine + PAGE, PAGE, 7);
	close(memfd);
	put("new", "a new library", 13), unlink("shared"), unlink("short"), unlink("ro");
	MUST(rename("new", "lib") == 0);
	pid_t pid = child(other, NULL);
	fill(lib + 2 * PAGE, PAGE, 12);
	gate_wait(gate, 1);
	ready_wait();

	MUST(((int (*)(void))code)() == 42);
	holds("written by the child, in the parent", lib + PAGE, PAGE, 1);
	holds("written by the parent", lib + 2 * PAGE, PAGE, 12);
	holds("not written", lib + 3 * PAGE, PAGE, 3);
	holds("shared", shar + PAGE, PAGE, 1);
	shar[3] = 'P';
	gate_pass(gate);
	must_exit(pid, 0);
	MUST(brief[PAGE] == buf[PAGE] && brief[PAGE + 100] == 0);
	no_page("past the end of the file", brief + 2 * PAGE);
	MUST(mprotect(ro, PAGE, RW) == -1 && errno == EACCES);
	holds("memfd", mem, PAGE, 6), holds("private page of a memfd", mine + PAGE, PAGE, 7);
	holds("memfd, seen privately", mine, PAGE, 6);
	is_zero("hole of a memfd", mem + PAGE, PAGE);
	no_page("past the end of the memfd", mem + 2 * PAGE);
	char link[600] = "";
	MUST(readlink("/proc/self/exe", link, sizeof link - 1) > 0 && strstr(link, " (deleted)"));
	int fd = open("/proc/self/exe", O_RDONLY);
	MUST(fd >= 0 && read(fd, buf, 4) == 4 && memcmp(buf, "\177ELF", 4) == 0);
	ok();
}
