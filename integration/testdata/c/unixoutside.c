// unixoutside: two children with a connection to their parent: one has it as
// standard output, the other one as any descriptor.
#include "prog.h"
#include <sys/socket.h>

static int out[2], other[2];

static void keep(int fd, int as) {
	MUST(dup2(fd, as) == as);
	close_range(3, 8, 0), close_range(10, ~0u, 0);
}

static int writes(void *unused UNUSED) {
	keep(out[1], 1);
	wait_go();
	return write(1, "through", 7) == 7 ? 0 : 1;
}

static int holds_it(void *unused UNUSED) {
	keep(other[1], 9);
	wait_go();
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, out) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0);
	pid_t a = child(writes, NULL), b = child(holds_it, NULL);
	close(out[1]), close(other[1]);
	nap_ms(50);
	ready_wait();
	char buf[8];
	MUST(read(out[0], buf, 8) == 7 && read(other[0], buf, 8) == 0);
	must_exit(a, 0), must_exit(b, 0);
	ok();
}
