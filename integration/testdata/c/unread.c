// unread: inotify events that wait to be read. "never": nobody reads them
// before the end, so no snapshot can be taken. "soon": they are read after a
// while, again and again, so a snapshot has to wait for it.
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

int main(int argc, char **argv) {
	prog_init(argc, argv);
	in = inotify_init1(0);
	MUST(mkdir("w", 0700) == 0 && inotify_add_watch(in, "w", IN_CREATE) == 1);
	if (argc > 3 && !strcmp(argv[3], "never")) {
		make_event();
		ready_wait();
		read_event();
		ok();
	}
	for (ready(); !went();) {
		make_event();
		nap_ms(20);
		read_event();
		nap_ms(10);
	}
	ok();
}
