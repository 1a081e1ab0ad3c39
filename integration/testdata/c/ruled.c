// ruled: has what the rules of policies are about, and tells what has become of it.
#include "prog.h"
#include <linux/userfaultfd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void at(int fd, int num) { MUST(fd >= 0 && dup2(fd, num) == num && close(fd) == 0); }

// tell says what each descriptor is now: name, position, and how it goes on.
static void tell(const char *who) {
	for (int fd = 10; fd < 20; fd++) {
		char link[700] = "", self[64], line[900];
		snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		if (readlink(self, link, sizeof link - 1) < 0)
			continue;
		snprintf(line, sizeof line, "%s %d %s at %ld flags %o", who, fd, link, (long)lseek(fd, 0, SEEK_CUR),
			 fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND));
		say(line);
	}
}

// faults makes a userfaultfd, which can not be captured.
static int faults(void) {
	int fd = syscall(SYS_userfaultfd, O_NONBLOCK | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = {.api = UFFD_API};
	MUST(fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0);
	return fd;
}

static void set_up(void) {
	at(open("log", O_WRONLY | O_CREAT | O_APPEND, 0640), 10);
	MUST(write(10, "before\n", 7) == 7);
	at(open("db", O_RDWR | O_CREAT, 0604), 11);
	MUST(write(11, "snapshot", 8) == 8 && ftruncate(11, PAGE) == 0 && lseek(11, 4, SEEK_SET) == 4);
	at(open("lock", O_RDWR | O_CREAT, 0600), 12);
	struct flock lock = {.l_type = F_WRLCK};
	MUST(fcntl(12, F_SETLK, &lock) == 0);
	int pair[2];
	at(faults(), 13), at(faults(), 14);
	at(epoll_create1(0), 15);
	at(eventfd(0, 0), 16);
	for (int fd = 13; fd < 17; fd += 3) {
		struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
		MUST(epoll_ctl(15, EPOLL_CTL_ADD, fd, &e) == 0);
	}
	MUST(pipe(pair) == 0 && write(pair[1], "data", 4) == 4);
	at(pair[0], 17), at(pair[1], 18);
}

// message sends a descriptor from one socket to another, or receives it.
static struct msghdr *message(int fd) {
	static char byte;
	static struct iovec io = {&byte, 1};
	static _Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))];
	static struct msghdr m;
	m = (struct msghdr){.msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	*c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return &m;
}
// sends puts a userfaultfd, which it keeps, into a message from 19 to 20.
static void sends(void) {
	int pair[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	at(pair[0], 19), at(pair[1], 20);
	MUST(sendmsg(19, message(14), 0) == 1);
}
// receives puts what is in the message at 19.
static void receives(void) {
	struct msghdr *m = message(-1);
	int fd;
	MUST(recvmsg(20, m, 0) == 1 && m->msg_controllen > 0);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(m)), sizeof fd);
	at(fd, 19);
}

static int kid(void *gate) {
	MUST(prctl(PR_SET_NAME, "kid") == 0);
	MUST(close(18) == 0);
	gate_pass(gate);
	wait_go();
	tell("kid");
	return 0;
}

// goes_on uses what is left.
static void goes_on(const char *page) {
	char b[100];
	struct epoll_event e[2];
	if (write(10, "after\n", 6) != 6)
		MUST(errno == EBADF);
	eventfd_write(16, 1);
	MUST(epoll_wait(15, e, 2, 1000) >= 1);
	CHECK(e[0].data.fd == 16, "epoll tells of %d", e[0].data.fd);
	if (fcntl(18, F_GETFD) >= 0)
		close(18);
	struct stat st;
	if (fstat(17, &st) == 0 && S_ISFIFO(st.st_mode)) {
		ssize_t n = read(17, b, sizeof b);
		CHECK(n == 4 && !memcmp(b, "data", 4), "pipe gave %zd bytes", n);
		CHECK(read(17, b, sizeof b) == 0, "the pipe has a writer");
	}
	if (page)
		MUST(!memcmp(page, "snapshot", 8));
	MUST(write(1, "out\n", 4) == 4 && write(2, "err\n", 4) == 4);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	set_up();
	const char *page = NULL;
	if (argc > 3 && !strcmp(argv[3], "mapped"))
		MUST((page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, 11, 0)) != MAP_FAILED && page[0] == 's');
	int flight = argc > 3 && !strcmp(argv[3], "flight");
	if (flight)
		sends();
	volatile int *gate = new_gate();
	pid_t pid = child(kid, (void *)gate);
	gate_wait(gate, 1);
	ready_wait();
	must_exit(pid, 0);
	if (flight)
		receives();
	tell("root");
	goes_on(page);
	ok();
}
