// unixempty: empty messages between others, which the kernel shows to who looks
// ahead only once.
#include "prog.h"
#include <sys/socket.h>

static void gets(int fd, const char *want) {
	char got[10];
	ssize_t n = recv(fd, got, sizeof got, MSG_DONTWAIT);
	CHECK(n == (ssize_t)strlen(want) && !memcmp(got, want, n), "got %zd bytes, want '%s'", n, want);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
	const char *words[] = {"", "one", "", "", "two", ""};
	int p[2][2];
	for (int t = 0; t < 2; t++) {
		MUST(socketpair(AF_UNIX, types[t], 0, p[t]) == 0);
		for (int i = 0; i < 6; i++)
			MUST(send(p[t][0], words[i], strlen(words[i]), 0) == (ssize_t)strlen(words[i]));
	}
	ready_wait();
	for (int t = 0; t < 2; t++) {
		for (int i = 0; i < 6; i++)
			gets(p[t][1], words[i]);
		MUST(recv(p[t][1], p, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	}
	ok();
}
