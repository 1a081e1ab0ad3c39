// inotify: watches of every kind of target keep their numbers and masks, and
// nothing but what the program does itself is reported.
#include "prog.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

static int in, all, shared, loose;

static int waiting(int fd) {
	int n = -1;
	MUST(ioctl(fd, FIONREAD, &n) == 0);
	return n;
}
// event reads exactly one event.
static void event(int fd, int wd, uint32_t mask, const char *name) {
	char buf[512] = {0};
	struct inotify_event *ev = (void *)buf;
	size_t room = sizeof *ev + (*name ? (strlen(name) / 16 + 1) * 16 : 0);
	ssize_t n = read(fd, buf, room);
	CHECK(n > 0, "no event for watch %d, mask %#x", wd, mask);
	CHECK(ev->wd == wd && ev->mask == mask && !strcmp(ev->len ? ev->name : "", name), "event of watch %d mask %#x %s, want %d %#x %s", ev->wd, ev->mask,
	      ev->len ? ev->name : "", wd, mask, name);
}
static int touch(const char *path) {
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	MUST(fd >= 0);
	return fd;
}
// copies maps a copy of a file, as a program maps a library.
static void copies(const char *from, const char *to) {
	static char buf[1 << 20];
	int in_fd = open(from, O_RDONLY), out = touch(to);
	ssize_t n = read(in_fd, buf, sizeof buf);
	MUST(n > 0 && n < (ssize_t)sizeof buf && write(out, buf, n) == n);
	MUST(mmap(NULL, n, PROT_READ, MAP_PRIVATE, out, 0) != MAP_FAILED);
	close(in_fd), close(out);
}
static int shares(void *unused UNUSED) {
	wait_go();
	while (access("w/from parent", F_OK))
		nap_ms(1);
	event(shared, 1, IN_CREATE, "from parent");
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	MUST(!mkdir("w", 0700) && !mkdir("w/a", 0700) && !mkdir("w/a/b", 0700) && !mkdir("w/a/b/deep", 0700) && !mkdir("busy", 0700) && !mkdir("mapped", 0700));
	MUST(!symlink("nowhere", "w/link"));
	close(touch("w/f")), close(touch("w/a/b/file"));
	int inside = touch("busy/open"), gone = touch("gone"), hard = touch("w/one");
	MUST(!link("w/one", "w/two"));
	shared = inotify_init1(0);
	MUST(inotify_add_watch(shared, "w", IN_CREATE) == 1);
	pid_t c = child(shares, NULL);
	in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), all = inotify_init1(IN_NONBLOCK), loose = inotify_init1(0);
	MUST(inotify_add_watch(in, "w", IN_CREATE | IN_DELETE | IN_ONLYDIR) == 1);
	MUST(inotify_add_watch(in, "gone", IN_MODIFY) == 2 && inotify_rm_watch(in, 2) == 0);
	event(in, 2, IN_IGNORED, "");
	MUST(inotify_add_watch(in, "w/f", IN_MODIFY | IN_DELETE_SELF) == 3);
	MUST(inotify_add_watch(in, "gone", IN_MODIFY) == 4);
	MUST(inotify_add_watch(in, "w/link", IN_ATTRIB | IN_DONT_FOLLOW) == 5);
	MUST(inotify_add_watch(in, "w/a/b/deep", IN_CREATE | IN_EXCL_UNLINK) == 6);
	MUST(inotify_add_watch(in, "w/a/b/file", IN_MODIFY | IN_ONESHOT) == 7);
	MUST(inotify_add_watch(in, "w/two", IN_MODIFY) == 8);
	MUST(ioctl(in, _IOW('I', 0, int), 0x7fffff00) == 0); // INOTIFY_IOC_SETNEXTWD
	MUST(inotify_add_watch(in, "/", IN_DELETE_SELF) == 0x7fffff00);
	MUST(inotify_add_watch(all, "busy", IN_ALL_EVENTS) == 1 && inotify_add_watch(all, "busy/open", IN_ALL_EVENTS) == 2);
	copies("/proc/self/exe", "mapped/library"), copies("/etc/passwd", "mapped/data");
	MUST(inotify_add_watch(loose, "mapped/library", IN_ALL_EVENTS) == 1 && inotify_add_watch(loose, "mapped/data", IN_ALL_EVENTS) == 2);
	MUST(!unlink("gone"));
	ready_wait();

	CHECK(!waiting(in) && !waiting(all) && !waiting(shared) && !waiting(loose), "events out of nowhere: %d %d %d %d", waiting(in), waiting(all), waiting(shared), waiting(loose));
	MUST(fcntl(in, F_GETFD) == FD_CLOEXEC && (fcntl(in, F_GETFL) & O_NONBLOCK) && !(fcntl(shared, F_GETFL) & O_NONBLOCK));
	close(touch("w/new"));
	event(in, 1, IN_CREATE, "new");
	event(shared, 1, IN_CREATE, "new");
	close(touch("w/from parent"));
	must_exit(c, 0);
	event(in, 1, IN_CREATE, "from parent");
	int f = open("w/f", O_WRONLY);
	MUST(write(f, "x", 1) == 1);
	event(in, 3, IN_MODIFY, "");
	MUST(write(gone, "x", 1) == 1);
	event(in, 4, IN_MODIFY, "");
	MUST(lchown("w/link", getuid(), getgid()) == 0);
	event(in, 5, IN_ATTRIB, "");
	close(touch("w/a/b/deep/x"));
	event(in, 6, IN_CREATE, "x");
	int once = open("w/a/b/file", O_WRONLY);
	MUST(write(once, "x", 1) == 1 && write(once, "y", 1) == 1);
	event(in, 7, IN_MODIFY, "");
	event(in, 7, IN_IGNORED, "");
	MUST(pwrite(hard, "x", 1, 0) == 1);
	event(in, 8, IN_MODIFY, "");
	MUST(pwrite(inside, "x", 1, 0) == 1);
	event(all, 1, IN_MODIFY, "open");
	event(all, 2, IN_MODIFY, "");
	CHECK(!waiting(in) && !waiting(all), "more events: %d %d", waiting(in), waiting(all));
	int next = inotify_add_watch(in, "busy", IN_MODIFY);
	CHECK(next == 0x7fffff01, "next watch is %d", next);
	MUST(inotify_rm_watch(in, 0x7fffff00) == 0);
	event(in, 0x7fffff00, IN_IGNORED, "");
	MUST(inotify_rm_watch(in, 1) == 0 && inotify_rm_watch(in, 9) == -1);
	ok();
}
