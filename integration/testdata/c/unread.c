// unread: inotify events that wait to be read. "never": nobody reads them
// before the end, so they are still there after a snapshot, and after a restart
// the kernel says that events were lost. "soon": they are read after a while,
// again and again, so a snapshot has to wait for it.
#include "prog.h"
#include <sys/inotify.h>

static int in;
static char buf[256];

static void make_event(void) {
	MUST(mkdir("w/new", 0700) == 0 && rmdir("w/new") == 0);
}
static void read_event(void) {
	MUST(read(in, buf, sizeof buf) == sizeof(struct inotify_event) + 16);
	struct inotify_event *ev = (void *)buf;
	MUST(ev->wd == 1 && ev->mask == (IN_CREATE | IN_ISDIR) && !strcmp(ev->name, "new"));
}

// lost wants nothing but an overflow, and no signal for it.
static void lost(void) {
	struct inotify_event *ev = (void *)buf;
	MUST(read(in, buf, sizeof buf) == sizeof *ev && ev->wd == -1 && ev->mask == IN_Q_OVERFLOW && ev->len == 0);
	sigset_t set;
	MUST(sigpending(&set) == 0 && !sigismember(&set, SIGRTMIN));
}
// never has no events read before the end. A pipe that is made again has
// another inode.
static void never(void) {
	int p[2];
	struct stat before, after;
	sigset_t set;
	MUST(pipe(p) == 0 && fstat(p[0], &before) == 0);
	make_event();
	sigemptyset(&set), sigaddset(&set, SIGRTMIN);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && fcntl(in, F_SETSIG, SIGRTMIN) == 0 && fcntl(in, F_SETOWN, getpid()) == 0);
	MUST(fcntl(in, F_SETFL, O_ASYNC) == 0);
	ready_wait();
	MUST(fstat(p[0], &after) == 0);
	before.st_ino == after.st_ino ? read_event() : lost();
	make_event();
	read_event();
	MUST(sigwaitinfo(&set, NULL) == SIGRTMIN);
	ok();
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	in = inotify_init1(0);
	MUST(mkdir("w", 0700) == 0 && inotify_add_watch(in, "w", IN_CREATE) == 1);
	if (argc > 3 && !strcmp(argv[3], "never"))
		never();
	for (ready(); !went();) {
		make_event();
		nap_ms(20);
		read_event();
		nap_ms(10);
	}
	ok();
}
