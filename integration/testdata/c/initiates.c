// initiates.c: an application that asks for a snapshot of itself, by supervise.h,
// and branches on where it goes on.
#include "prog.h"
#include "supervise.h"

int main(int argc, char **argv) {
	prog_init(argc, argv);
	char line[100];
	int fd = supervise_open();
	MUST(fd >= 0);
	ready();
	for (int n = 0; n < 3; n++) {
		int generation = -1;
		int how = supervise_checkpoint(fd, "a \"quoted\" \\ name", &generation);
		snprintf(line, sizeof line, "%s %d in generation %d", how == SUPERVISE_RESUMED ? "resumed" : how == SUPERVISE_RESTARTED ? "restarted" : "failed", n, generation);
		say(line);
		if (how == SUPERVISE_RESUMED)
			wait_go();
		if (how != SUPERVISE_RESTARTED)
			break;
	}
	ok();
}
