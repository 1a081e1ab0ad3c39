// pipes: content, size, flags, closed ends, and ends in other processes.
#include "prog.h"
#include <sys/ioctl.h>

static int full[2], part[2], over[2];
static char big[65536];

static int far_end(void *unused UNUSED) {
	close(over[1]);
	wait_go();
	char c[6] = {0};
	MUST(read(over[0], c, 6) == 6 && !memcmp(c, "across", 6));
	MUST(read(over[0], c, 1) == 1 && c[0] == '!'); // written after the restart
	MUST(read(over[0], c, 1) == 0);                // and closed
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	int eof[2], broken[2], sized[2], packet[2], empty[2], refd[2];
	MUST(!pipe(full) && !pipe(part) && !pipe(over) && !pipe(eof) && !pipe(broken) && !pipe(sized) && !pipe(empty) && !pipe(refd));
	MUST(pipe2(packet, O_DIRECT | O_NONBLOCK | O_CLOEXEC) == 0);
	fill(big, sizeof big, 1);
	fcntl(full[1], F_SETFL, O_NONBLOCK);
	MUST(write(full[1], big, sizeof big) == sizeof big && write(full[1], "x", 1) == -1);
	char c[100];
	MUST(write(part[1], "0123456789", 10) == 10 && read(part[0], c, 4) == 4);
	MUST(write(over[1], "across", 6) == 6);
	MUST(write(eof[1], "last", 4) == 4);
	close(eof[1]);
	close(broken[0]);
	int size = fcntl(sized[1], F_SETPIPE_SZ, 16 * 4096);
	MUST(size == 16 * 4096 && (size = fcntl(sized[1], F_SETPIPE_SZ, 8192)) == 8192);
	MUST(write(packet[1], "abc", 3) == 3 && write(packet[1], "defgh", 5) == 5);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", refd[0]);
	int both = open(path, O_RDWR); // a pipe end opened for both
	MUST(both >= 0 && write(both, "both", 4) == 4);
	pid_t f = child(far_end, NULL);
	close(over[0]);
	ready_wait();
	for (size_t got = 0; got < sizeof big;) {
		static char back[65536];
		ssize_t n = read(full[0], back + got, sizeof back - got);
		MUST(n > 0);
		got += n;
		if (got == sizeof big)
			MUST(!memcmp(big, back, sizeof big));
	}
	MUST(fcntl(full[1], F_GETFL) & O_NONBLOCK && !(fcntl(full[0], F_GETFL) & O_NONBLOCK));
	int left = -1;
	MUST(ioctl(part[0], FIONREAD, &left) == 0);
	CHECK(left == 6 && read(part[0], c, 6) == 6 && !memcmp(c, "456789", 6), "%d bytes left", left);
	MUST(write(over[1], "!", 1) == 1);
	close(over[1]);
	must_exit(f, 0);
	MUST(read(eof[0], c, 9) == 4 && read(eof[0], c, 9) == 0);
	MUST(write(broken[1], "x", 1) == -1 && errno == EPIPE);
	CHECK(fcntl(sized[0], F_GETPIPE_SZ) == 8192, "pipe size %d", fcntl(sized[0], F_GETPIPE_SZ));
	MUST(read(packet[0], c, 100) == 3 && read(packet[0], c, 100) == 5 && read(packet[0], c, 100) == -1 && errno == EAGAIN);
	MUST(fcntl(packet[1], F_GETFD) == FD_CLOEXEC);
	MUST(read(both, c, 9) == 4 && !memcmp(c, "both", 4));
	fcntl(empty[0], F_SETFL, O_NONBLOCK);
	MUST(read(empty[0], c, 1) == -1 && errno == EAGAIN);
	ok();
}
