// fifos: named pipes with content, open in one or in two processes; one whose
// name was removed, as shell scripts do it.
#include "prog.h"

static int fd, both, end;
static int reader(void *unused UNUSED) {
	fd = open("queue", O_RDONLY);
	wait_go();
	char c[20];
	MUST(read(fd, c, 7) == 7 && !memcmp(c, "waiting", 7));
	MUST(read(fd, c, 4) == 4 && !memcmp(c, "more", 4));
	MUST(read(fd, c, 4) == 0);
	MUST(read(end, c, 5) == 5 && !memcmp(c, "token", 5) && write(both, "back", 4) == 4);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	MUST((mkfifo("queue", 0600) == 0 || errno == EEXIST) && (mkfifo("self", 0600) == 0 || errno == EEXIST));
	MUST(mkfifo("nameless-fifo", 0600) == 0 && chmod("nameless-fifo", 0642) == 0);
	both = open("nameless-fifo", O_RDWR), end = open("nameless-fifo", O_RDONLY | O_NONBLOCK);
	MUST(both >= 0 && end >= 0 && unlink("nameless-fifo") == 0 && write(both, "token", 5) == 5);
	pid_t r = child(reader, NULL);
	int w = open("queue", O_WRONLY), self = open("self", O_RDWR | O_NONBLOCK);
	MUST(w >= 0 && self >= 0);
	MUST(write(w, "waiting", 7) == 7 && write(self, "mine", 4) == 4);
	ready_wait();
	char c[20];
	MUST(read(self, c, 20) == 4 && !memcmp(c, "mine", 4));
	MUST(read(self, c, 20) == -1 && errno == EAGAIN);
	struct stat st, named;
	MUST(fstat(self, &st) == 0 && stat("self", &named) == 0);
	CHECK(S_ISFIFO(st.st_mode) && st.st_ino == named.st_ino, "the fifo is not the one with the name");
	MUST(write(w, "more", 4) == 4);
	close(w);
	must_exit(r, 0);
	MUST(fstat(both, &st) == 0 && S_ISFIFO(st.st_mode) && (st.st_mode & 07777) == 0642 && st.st_uid == getuid());
	MUST(read(both, c, 20) == 4 && !memcmp(c, "back", 4) && read(end, c, 20) == -1 && errno == EAGAIN);
	ok();
}
