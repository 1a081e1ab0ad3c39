// quiesce: gets ready for a snapshot when SIGUSR1 comes, and goes on when
// SIGUSR2 does: in the handler or, called with a path, in its loop, which makes
// that file when it is ready. Both take a while. Whoever goes on, in the
// original or in a copy, must have been ready: no snapshot was taken before.
#include "prog.h"

static volatile sig_atomic_t asked, is_quiet;
static int rounds;
static const char *ready_path;

static void quiet(void) {
	nap_ms(250);
	is_quiet = 1;
}

static void on_usr1(int sig UNUSED) {
	if (ready_path)
		asked = 1;
	else
		quiet();
}

static void on_usr2(int sig UNUSED) {
	char line[100];
	CHECK(is_quiet, "a snapshot was taken before the program was ready");
	is_quiet = 0;
	snprintf(line, sizeof line, "on %d", ++rounds);
	say(line);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	expect_eintr = 1;
	ready_path = argc > 3 ? argv[3] : NULL;
	struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
	MUST(sigaction(SIGUSR1, &sa, NULL) == 0);
	sa.sa_handler = on_usr2;
	MUST(sigaction(SIGUSR2, &sa, NULL) == 0);
	ready();
	while (!went()) {
		if (asked) {
			asked = 0;
			quiet();
			int fd = open(ready_path, O_CREAT | O_WRONLY, 0600);
			MUST(fd >= 0 && close(fd) == 0);
		}
		nap_ms(20);
	}
	ok();
}
