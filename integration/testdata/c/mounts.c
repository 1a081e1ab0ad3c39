// mounts: what is on mounts of its own. "overlay": files of the upper and of
// the lower layer, copied up before and after, removed, mapped, watched.
// "bind": files reached through a bind mount and renamed beside it, a root
// directory with one. Whoever runs the test takes the mounts off.
#include "prog.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

static volatile int *gate;

static int make(const char *path, const char *text) {
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
	MUST(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}
static int opened(const char *path, int flags) {
	int fd = open(path, flags);
	CHECK(fd >= 0, "open %s", path);
	return fd;
}
// has wants a file to be at a position and to have a content.
static void has(int fd, off_t pos, const char *want) {
	char got[100] = "";
	MUST(lseek(fd, 0, SEEK_CUR) == pos && pread(fd, got, sizeof got - 1, 0) >= 0);
	CHECK(!strcmp(got, want), "fd %d has \"%s\", want \"%s\"", fd, got, want);
}
static void ends(int fd, const char *end) {
	char self[64], link[500] = "";
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	MUST(readlink(self, link, sizeof link - 1) > 0);
	CHECK(strlen(link) > strlen(end) && !strcmp(link + strlen(link) - strlen(end), end), "fd %d is %s, want %s", fd, link, end);
}
static void same(int a, int b) {
	struct stat x, y;
	MUST(fstat(a, &x) == 0 && fstat(b, &y) == 0);
	CHECK(x.st_dev == y.st_dev && x.st_ino == y.st_ino, "two descriptors of one file are two files");
}
static void event(int in, int wd, uint32_t mask) {
	char buf[400];
	struct inotify_event *ev = (void *)buf;
	int n = 0;
	MUST(ioctl(in, FIONREAD, &n) == 0);
	CHECK(n > 0 && read(in, buf, sizeof buf) > 0 && ev->wd == wd && ev->mask == mask, "no event for watch %d, mask %#x", wd, mask);
}
static int works_there(void *dir) {
	MUST(chdir(dir) == 0);
	gate_pass(gate);
	gate_wait(gate, 100);
	char cwd[500];
	MUST(getcwd(cwd, sizeof cwd));
	CHECK(!strcmp(strrchr(cwd, '/'), "/sub") && access("deep", F_OK) == 0, "cwd is %s", cwd);
	return 0;
}

static void overlay(void) {
	MUST(!mkdir("lower", 0755) && !mkdir("upper", 0755) && !mkdir("scratch", 0755) && !mkdir("merged", 0755) && !mkdir("lower/sub", 0755));
	close(make("lower/low", "of the lower layer")), close(make("lower/up", "copied up")), close(make("lower/doomed", "to be removed"));
	close(make("lower/later", "copied up after")), close(make("lower/sub/deep", "deep")), close(make("lower/lib", "mapped"));
	MUST(mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=scratch") == 0);
	int low = opened("merged/low", O_RDONLY), up = opened("merged/up", O_RDWR), fresh = make("merged/fresh", "new"), dir = opened("merged", O_RDONLY | O_DIRECTORY);
	int doomed = opened("merged/doomed", O_RDONLY), doomed_up = opened("merged/doomed", O_RDWR), later = opened("merged/later", O_RDONLY), lib = opened("merged/lib", O_RDONLY);
	MUST(pwrite(up, "COPIED", 6, 0) == 6 && lseek(up, 3, SEEK_SET) == 3 && lseek(low, 2, SEEK_SET) == 2);
	MUST(unlink("merged/doomed") == 0);
	char *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, lib, 0), *shared = mmap(NULL, PAGE, RW, MAP_SHARED, up, 0);
	MUST(map != MAP_FAILED && shared != MAP_FAILED);
	int in = inotify_init1(IN_NONBLOCK);
	MUST(inotify_add_watch(in, "merged/sub", IN_CREATE) == 1 && inotify_add_watch(in, "merged/up", IN_ATTRIB) == 2);
	pid_t c = child(works_there, "merged/sub");
	gate_wait(gate, 1);
	ready_wait();
	gate_wait(gate, 1);
	*gate = 100;
	must_exit(c, 0);
	has(low, 2, "of the lower layer"), has(up, 3, "COPIED up"), has(fresh, 3, "new");
	has(doomed_up, 0, "to be removed"), has(doomed, 0, "to be removed");
	MUST(openat(dir, "fresh", O_RDONLY) >= 0);
	MUST(!memcmp(map, "mapped", 6) && !memcmp(shared, "COPIED", 6));
	shared[0] = 'c';
	has(up, 3, "cOPIED up");
	int writer = opened("merged/later", O_RDWR);
	MUST(pwrite(writer, "COPIED", 6, 0) == 6);
	has(later, 0, "COPIED up after");
	ends(low, "/merged/low");
	close(make("merged/sub/new", ""));
	event(in, 1, IN_CREATE);
	MUST(fchmod(up, 0600) == 0);
	event(in, 2, IN_ATTRIB);
	MUST(unlink("merged/sub/new") == 0); // for whoever restarts once more
}

static int jailed(void *unused UNUSED) {
	MUST(chroot("jail") == 0 && chdir("/in") == 0);
	int fd = opened("/in/one", O_RDWR);
	MUST(lseek(fd, 1, SEEK_SET) == 1);
	gate_pass(gate);
	gate_wait(gate, 100);
	char cwd[100];
	MUST(getcwd(cwd, sizeof cwd) && !strcmp(cwd, "/in") && access("/jail", F_OK) == -1);
	has(fd, 1, "first");
	same(fd, opened("one", O_RDONLY));
	return 0;
}
static void bind(void) {
	MUST(!mkdir("real", 0755) && !mkdir("seen", 0755) && !mkdir("jail", 0755) && !mkdir("jail/in", 0755) && !mkdir("jail/proc", 0755) && !mkdir("real/sub", 0755));
	close(make("real/one", "first")), close(make("real/two", "second")), close(make("real/sub/deep", "")), close(make("file", "a file")), close(make("spot", "below"));
	MUST(!mount("real", "seen", NULL, MS_BIND, NULL) && !mount("real", "jail/in", NULL, MS_BIND, NULL) && !mount("file", "spot", NULL, MS_BIND, NULL));
	int one = opened("seen/one", O_RDWR), two = opened("seen/two", O_RDWR), direct = opened("real/two", O_RDONLY), dir = opened("seen", O_RDONLY | O_DIRECTORY);
	int spot = opened("spot", O_RDWR), root = opened("seen", O_PATH);
	MUST(lseek(one, 2, SEEK_SET) == 2 && lseek(spot, 3, SEEK_SET) == 3);
	MUST(rename("real/two", "real/renamed") == 0);
	pid_t a = child(works_there, "seen/sub"), b = child(jailed, NULL);
	gate_wait(gate, 2);
	ready_wait();
	*gate = 100;
	must_exit(a, 0), must_exit(b, 0);
	has(one, 2, "first"), has(two, 0, "second"), has(direct, 0, "second"), has(spot, 3, "a file");
	ends(one, "/seen/one"), ends(two, "/seen/renamed"), ends(direct, "/real/renamed"), ends(spot, "/spot");
	same(two, direct), same(spot, opened("file", O_RDONLY)), same(openat(dir, "one", O_RDONLY), one), same(openat(root, "renamed", O_RDONLY), two);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	MUST(argc > 3);
	strcmp(argv[3], "overlay") ? bind() : overlay();
	ok();
}
