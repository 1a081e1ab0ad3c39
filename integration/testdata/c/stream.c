// stream: for measuring. A process sends to another over TCP as fast as it can,
// and that one says how many bytes came in a usual tenth of a second, and in the
// one with the fewest, as a share of it, and the longest time without any.
#include "tcp.h"

enum { slots = 1 << 12 };
static double bytes[slots]; // by tenth of a second

static int by_size(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	struct link l = a_link();
	static char buf[256 * KiB];
	pid_t sender = fork();
	if (sender == 0) {
		close(l.s);
		while (send(l.c, buf, sizeof buf, MSG_NOSIGNAL) > 0)
			;
		_exit(0);
	}
	close(l.c);
	double begun = now(), last = begun, gap = 0;
	int is_ready = 0, slot = 0;
	while (!went() && slot < slots) {
		ssize_t n = recv(l.s, buf, sizeof buf, 0);
		double t = now();
		MUST(n > 0);
		if (t - begun > 1 && !is_ready) { // it has found its pace
			is_ready = 1;
			ready();
			last = begun = t = now();
		}
		if (!is_ready)
			continue;
		if (t - last > gap)
			gap = t - last;
		last = t;
		slot = (t - begun) * 10;
		if (slot < slots)
			bytes[slot] += n;
	}
	close(l.s);
	waitpid(sender, NULL, 0);
	MUST(slot > 3); // the last is not whole
	double sorted[slots];
	memcpy(sorted, bytes, sizeof sorted);
	qsort(sorted, slot, sizeof *sorted, by_size);
	char line[128];
	snprintf(line, sizeof line, "rate %.0f least %.6f gap %.6f", sorted[slot / 2] * 10, sorted[0] / sorted[slot / 2], gap);
	say(line);
	ok();
}
