// fanotify: marks of files keep what they report and ignore. With "mount",
// those of a mount and of a file system as well, in a group that opens files.
// "unread" and "permission" cannot be captured: an event waits to be read, or
// the program answers for others.
#include "prog.h"
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

static int names, opens = -1;
static union {
	char bytes[4096];
	struct fanotify_event_metadata head;
} ev;

static int waiting(int fd) {
	int n = -1;
	MUST(ioctl(fd, FIONREAD, &n) == 0);
	return n;
}
static void read_one(int fd, uint64_t mask) {
	CHECK(waiting(fd), "no event with mask %#lx", mask);
	ssize_t n = read(fd, &ev, sizeof ev);
	MUST(n > 0 && ev.head.event_len == n && ev.head.vers == FANOTIFY_METADATA_VERSION);
	CHECK(ev.head.mask == mask, "event with mask %#llx, want %#lx", (unsigned long long)ev.head.mask, mask);
}
// named reads an event of the group that gives names.
static void named(uint64_t mask, const char *name) {
	read_one(names, mask);
	struct fanotify_event_info_fid *info = (void *)(&ev.head + 1);
	MUST(info->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME);
	struct file_handle *h = (void *)info->handle;
	char *got = (char *)h->f_handle + h->handle_bytes;
	CHECK(!strcmp(got, name), "event of %s, want %s", got, name);
}
// opened reads an event of the group that opens files.
static void opened(uint64_t mask, const char *end) {
	char self[64], link[500];
	read_one(opens, mask);
	snprintf(self, sizeof self, "/proc/self/fd/%d", ev.head.fd);
	ssize_t n = readlink(self, link, sizeof link - 1);
	MUST(n > 0);
	link[n] = 0;
	CHECK(strlen(link) > strlen(end) && !strcmp(link + strlen(link) - strlen(end), end), "event of %s, want %s", link, end);
	MUST(ev.head.pid == getpid() && (fcntl(ev.head.fd, F_GETFL) & O_NOATIME));
	close(ev.head.fd);
}
static void writes(const char *path) {
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	MUST(fd >= 0 && pwrite(fd, "x", 1, 0) == 1 && close(fd) == 0);
}
static void mark(int fd, int flags, uint64_t mask, const char *path) {
	CHECK(fanotify_mark(fd, FAN_MARK_ADD | flags, mask, AT_FDCWD, path) == 0, "mark %s", path);
}
static void mounts(void) {
	MUST(!mkdir("m", 0700) && !mkdir("b", 0700) && !mount("tmpfs", "m", "tmpfs", 0, "size=1m") && !mount("w", "b", NULL, MS_BIND, NULL));
	opens = fanotify_init(FAN_CLASS_CONTENT | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS | FAN_NONBLOCK, O_RDONLY | O_NOATIME | O_CLOEXEC);
	MUST(opens >= 0);
	mark(opens, FAN_MARK_MOUNT, FAN_CLOSE_WRITE, "b");
	mark(opens, FAN_MARK_FILESYSTEM, FAN_CLOSE_WRITE, "m");
	mark(opens, FAN_MARK_FILESYSTEM | FAN_MARK_IGNORE_SURV, FAN_OPEN | FAN_ONDIR, "m");
	mark(opens, 0, FAN_OPEN | FAN_ONDIR, "m");
}
static void check_mounts(void) {
	writes("w/x");
	CHECK(!waiting(opens), "an event of a file that was reached by another mount");
	writes("b/x");
	opened(FAN_CLOSE_WRITE, "/b/x");
	writes("m/y");
	opened(FAN_CLOSE_WRITE, "/m/y");
	close(open("m", O_RDONLY | O_DIRECTORY));
	CHECK(!waiting(opens), "an event that is ignored");
}

// refused makes what cannot be captured, and sees that it goes on.
static void refused(const char *what) {
	if (!strcmp(what, "permission")) {
		opens = fanotify_init(FAN_CLASS_CONTENT, O_RDONLY);
		MUST(opens >= 0);
		mark(opens, 0, FAN_OPEN_PERM, "w/f");
	}
	if (!strcmp(what, "unread"))
		MUST(!mkdir("w/unread", 0700));
	ready_wait();
	if (!strcmp(what, "unread"))
		named(FAN_CREATE | FAN_ONDIR, "unread");
	ok();
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	MUST(!mkdir("w", 0700) && !mkdir("w/a", 0700) && !mkdir("w/a/b", 0700));
	writes("w/f"), writes("w/loud"), writes("w/quiet"), writes("w/once"), writes("w/a/b/deep");
	int kept = open("w/loud", O_RDWR), on_mounts = argc > 3 && !strcmp(argv[3], "mount");
	if (on_mounts)
		mounts();
	names = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_CLOEXEC, O_RDWR);
	MUST(kept >= 0 && names >= 0);
	mark(names, 0, FAN_CREATE | FAN_DELETE | FAN_MODIFY | FAN_ONDIR | FAN_EVENT_ON_CHILD, "w");
	mark(names, FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_MODIFY, "w/quiet");
	mark(names, FAN_MARK_IGNORED_MASK, FAN_MODIFY | FAN_ATTRIB, "w/once");
	mark(names, FAN_MARK_EVICTABLE, FAN_ATTRIB, "w/loud");
	mark(names, 0, FAN_ATTRIB, "w/a/b/deep");
	if (argc > 3 && !on_mounts)
		refused(argv[3]);
	ready_wait();
	CHECK(!waiting(names) && (opens < 0 || !waiting(opens)), "events out of nowhere");
	MUST(fcntl(names, F_GETFD) == FD_CLOEXEC && !(fcntl(names, F_GETFL) & O_NONBLOCK));
	if (on_mounts)
		check_mounts();
	while (waiting(names)) // of check_mounts
		MUST(read(names, &ev, sizeof ev) > 0);
	MUST(!mkdir("w/new", 0700));
	named(FAN_CREATE | FAN_ONDIR, "new");
	MUST(!rmdir("w/new"));
	named(FAN_DELETE | FAN_ONDIR, "new");
	writes("w/f");
	named(FAN_MODIFY, "f");
	writes("w/quiet");
	CHECK(!waiting(names), "an event that is ignored");
	writes("w/once");
	named(FAN_MODIFY, "once");
	MUST(fchmod(kept, 0640) == 0);
	named(FAN_ATTRIB, "loud");
	MUST(chmod("w/a/b/deep", 0640) == 0);
	named(FAN_ATTRIB, "deep");
	MUST(chmod("w/f", 0640) == 0);
	CHECK(!waiting(names), "an event that nobody asked for");
	ok();
}
