// peergroups: who is at the other end of a unix connection has groups
// (SO_PEERGROUPS): of a pair, of a listener, of clients that were accepted and
// of one that waits. Root chooses the groups, others have theirs.
#include "prog.h"
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

typedef struct {
	gid_t list[64];
	int n;
} groups;

static groups become(int user, int n, const gid_t *list) {
	groups mine;
	if (geteuid() == 0)
		MUST(setgroups(n, list) == 0 && (user == 0 || (setresgid(user, user, user) == 0 && setresuid(user, user, user) == 0)));
	MUST((mine.n = getgroups(64, mine.list)) >= 0);
	return mine;
}

static void peer_has(int line, int fd, const groups *want) {
	gid_t list[64];
	socklen_t size = sizeof list;
	CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &size) == 0, "line %d: SO_PEERGROUPS", line);
	CHECK((int)(size / sizeof *list) == want->n && !memcmp(list, want->list, size), "line %d: %d groups, the first is %d; want %d", line,
	      (int)(size / sizeof *list), size ? (int)*list : -1, want->n);
}
#define PEER_HAS(fd, want) peer_has(__LINE__, fd, want)

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gid_t many[40];
	for (int i = 0; i < 40; i++)
		many[i] = 1000 + i;
	groups mine = become(0, 40, many), childs;
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	socklen_t size = sizeof at.sun_family + 1 + snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "groups-%d", getpid());
	int pair[2], listener = socket(AF_UNIX, SOCK_STREAM, 0);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	MUST(bind(listener, (void *)&at, size) == 0 && listen(listener, 5) == 0);
	int yes = 1;
	MUST(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0);
	pid_t child = fork();
	MUST(child >= 0);
	if (child == 0) {
		become(1234, 3, (gid_t[]){5, 6, 7});
		int fd = socket(AF_UNIX, SOCK_STREAM, 0), waits = socket(AF_UNIX, SOCK_STREAM, 0);
		char c;
		MUST(write(pair[1], "hi", 2) == 2); // a message shows who sent it, but no groups
		MUST(connect(fd, (void *)&at, size) == 0 && connect(waits, (void *)&at, size) == 0);
		PEER_HAS(fd, &mine);
		MUST(read(pair[1], &c, 1) == 1);
		PEER_HAS(fd, &mine);
		PEER_HAS(waits, &mine);
		PEER_HAS(pair[1], &mine);
		_exit(0);
	}
	int fd = accept(listener, NULL, NULL);
	childs = mine;
	if (geteuid() == 0)
		childs = (groups){{5, 6, 7}, 3};
	MUST(fd >= 0);
	PEER_HAS(fd, &childs);
	PEER_HAS(pair[0], &mine);
	ready_wait();
	PEER_HAS(fd, &childs);
	PEER_HAS(pair[0], &mine);
	PEER_HAS(listener, &mine);
	int late = accept(listener, NULL, NULL);
	MUST(late >= 0);
	PEER_HAS(late, &childs);
	char hi[3];
	MUST(read(pair[0], hi, 3) == 2);
	MUST(write(pair[0], "x", 1) == 1);
	int status;
	MUST(waitpid(child, &status, 0) == child);
	CHECK(status == 0, "the child ended with %x", status);
	ok();
}
