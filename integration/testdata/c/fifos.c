// fifos: named pipes with content, open in one or in two processes.
#include "prog.h"

static int fd;
static int reader(void *unused UNUSED) {
	fd = open("queue", O_RDONLY);
	wait_go();
	char c[20];
	MUST(read(fd, c, 7) == 7 && !memcmp(c, "waiting", 7));
	MUST(read(fd, c, 4) == 4 && !memcmp(c, "more", 4));
	MUST(read(fd, c, 4) == 0);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	MUST((mkfifo("queue", 0600) == 0 || errno == EEXIST) && (mkfifo("self", 0600) == 0 || errno == EEXIST));
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
	ok();
}
