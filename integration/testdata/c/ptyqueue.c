// ptyqueue: what was written to a terminal inside the tree and not yet read,
// in both directions.
#include "prog.h"
#include <termios.h>

int main(int argc, char **argv) {
	prog_init(argc, argv);
	char name[64], buf[100] = {0};
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	MUST(grantpt(master) == 0 && unlockpt(master) == 0 && ptsname_r(master, name, sizeof name) == 0);
	int slave = open(name, O_RDWR | O_NOCTTY);
	struct termios t;
	tcgetattr(slave, &t);
	t.c_lflag &= ~ECHO;
	tcsetattr(slave, TCSANOW, &t);
	MUST(write(slave, "out\n", 4) == 4 && write(master, "in\npart", 7) == 7);
	ready_wait();
	int n = read(master, buf, 100);
	CHECK(n == 5 && !memcmp(buf, "out\r\n", 5), "master had %d bytes: %s", n, buf);
	n = read(slave, buf, 100);
	CHECK(n == 3 && !memcmp(buf, "in\n", 3), "slave had %d bytes: %.*s", n, n, buf);
	MUST(write(master, "ly\n", 3) == 3);
	n = read(slave, buf, 100);
	CHECK(n == 7 && !memcmp(buf, "partly\n", 7), "slave had %d bytes: %.*s", n, n, buf);
	ok();
}
