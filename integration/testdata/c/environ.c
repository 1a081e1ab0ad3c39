// environ.c: getenv and /proc show the environment as a restart has changed it.
// The log says what they show; the test knows what it should be.
#include "prog.h"

extern char **environ;

static void show(const char *name) {
	char line[900];
	const char *v = getenv(name);
	snprintf(line, sizeof line, "%s=%.800s", name, v ? v : "(none)");
	say(line);
}

// shown finds a variable in /proc/self/environ.
static int shown(const char *set) {
	static char buf[1 << 18];
	int fd = open("/proc/self/environ", O_RDONLY);
	ssize_t n, all = 0;
	while ((n = read(fd, buf + all, sizeof buf - 1 - all)) > 0)
		all += n;
	close(fd);
	for (char *s = buf; s < buf + all; s += strlen(s) + 1)
		if (strcmp(s, set) == 0)
			return 1;
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	if (argc > 3)
		setenv("ADDED_BEFORE", "x", 1); // environ is an array of libc's own now
	ready();
	for (int round = 1;; round++) {
		char sign[1000];
		snprintf(sign, sizeof sign, "%s-%d", go_path, round);
		while (access(sign, F_OK) != 0 && !went())
			nap_ms(10);
		if (went())
			break;
		show("SAME"), show("SHORT"), show("LONG"), show("GONE"), show("NEW");
		for (char **e = environ; *e; e++)
			if ((strncmp(*e, "SAME=", 5) == 0 || strncmp(*e, "LONG=", 5) == 0 || strncmp(*e, "SHORT=", 6) == 0) && !shown(*e))
				fail("/proc/self/environ does not show %s", *e);
		CHECK(getenv("GONE") || (!shown("GONE=g") && !shown("GONE=again")), "/proc/self/environ shows GONE");
		snprintf(sign, sizeof sign, "round %d", round);
		say(sign);
	}
	ok();
}
