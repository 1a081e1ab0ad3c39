// tcpmany N LIMIT: so many connections between two processes that the processes
// together have more descriptors than one may have. Some are in two processes,
// some in flight over a socket that is older than they are.
#include "tcp.h"
#include <sys/epoll.h>

enum { SHARED = 20, FLYING = 5 };
static int n, *ends;
static int post[2]; // a unix socket, and what is in flight over it

static void fly(int fd) {
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof fd)]; } c = {.h = {CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS}};
	memcpy(CMSG_DATA(&c.h), &fd, sizeof fd);
	struct iovec v = {"!", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	MUST(sendmsg(post[0], &m, 0) == 1);
	close(fd);
}
static int landed(void) {
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;
	char byte;
	struct iovec v = {&byte, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	int fd;
	MUST(recvmsg(post[1], &m, 0) == 1 && c.h.cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(&c.h), sizeof fd);
	return fd;
}

// text is what one end of connection i sends.
static char *text(const char *who, int i) {
	static char s[40];
	snprintf(s, sizeof s, "%s %d.", who, i);
	return s;
}

static int client(void *door) {
	for (int i = 0; i < n; i++) {
		connect_to(ends[i] = sock(AF_INET), (int)(intptr_t)door);
		says(ends[i], text("client", i));
	}
	close((int)(intptr_t)door);
	wait_go();
	for (int i = 0; i < n; i++)
		hears(ends[i], text("server", i)), says(ends[i], text("answer", i));
	for (int i = 0; i < n; i++)
		hears_end(ends[i]);
	return 0;
}

// partner has some of the server's connections as well.
static int partner(void *unused UNUSED) {
	for (int i = SHARED; i < n; i++)
		close(ends[i]);
	wait_go();
	for (int i = 0; i < SHARED; i++)
		while (!(fcntl(ends[i], F_GETFL) & O_APPEND)) // it is one description
			nap_ms(1);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	n = atoi(argv[3]);
	struct rlimit limit = {atoi(argv[4]), atoi(argv[4])};
	MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0 && (ends = calloc(n, sizeof *ends)));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, post) == 0);
	int door = server(AF_INET), queue = epoll_create1(0);
	listen4(door, 0, 100);
	pid_t c = child(client, (void *)(intptr_t)door);
	for (int i = 0; i < n; i++) {
		MUST((ends[i] = accept(door, NULL, NULL)) >= 0);
		hears(ends[i], text("client", i)), says(ends[i], text("server", i));
		MUST(epoll_ctl(queue, EPOLL_CTL_ADD, ends[i], &(struct epoll_event){.events = EPOLLIN, .data.u32 = i}) == 0);
	}
	pid_t p = child(partner, NULL);
	for (int i = n - FLYING; i < n; i++) {
		MUST(epoll_ctl(queue, EPOLL_CTL_DEL, ends[i], NULL) == 0);
		fly(ends[i]);
	}
	ready_wait();
	for (int i = 0; i < SHARED; i++)
		MUST(fcntl(ends[i], F_SETFL, O_APPEND) == 0);
	must_exit(p, 0);
	for (int left = n - FLYING; left > 0; left--) { // epoll tells which
		struct epoll_event e;
		MUST(epoll_wait(queue, &e, 1, 20000) == 1);
		hears(ends[e.data.u32], text("answer", e.data.u32));
	}
	for (int i = n - FLYING; i < n; i++)
		hears(ends[i] = landed(), text("answer", i));
	for (int i = 0; i < n; i++)
		close(ends[i]);
	must_exit(c, 0);
	ok();
}
