// pidfds: of the program itself, of a child, a zombie and a process that has been
// waited for; of threads, first ones, others and one that has ended
// (PIDFD_THREAD); and some that processes share.
#include "prog.h"
#include <poll.h>
#include <sys/epoll.h>
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

static volatile int *gate;
static int shared, ended, of_mate = -1;
static volatile pid_t mate, signalled;

static int open_pid(pid_t pid, int flags) {
	int fd = syscall(SYS_pidfd_open, pid, flags);
	MUST(fd >= 0);
	return fd;
}
static int ready_now(int fd) {
	struct pollfd p = {fd, POLLIN, 0};
	return poll(&p, 1, 0);
}
static int ends(void *unused UNUSED) { return 3; }
static void note(int sig UNUSED) { signalled = gettid(); }
static void *mates(void *unused UNUSED) { // ends when it is told to, by way of its descriptor
	mate = gettid();
	while (signalled != mate)
		nap_ms(1);
	return NULL;
}
static void *at_once(void *to) {
	*(int *)to = syscall(SYS_pidfd_open, gettid(), PIDFD_THREAD);
	return NULL;
}
static int shares(void *unused UNUSED) {
	gate_pass(gate);
	wait_go();
	gate_wait(gate, 3);
	MUST(of_mate < 0 || ready_now(of_mate) == 0);
	MUST(fcntl(shared, F_GETFL) & O_NONBLOCK); // the parent has set it since
	MUST(syscall(SYS_pidfd_send_signal, shared, 0, NULL, 0) == 0);
	MUST(ready_now(ended) == 1 && syscall(SYS_pidfd_send_signal, ended, 0, NULL, 0) == -1 && errno == ESRCH);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	pid_t zombie = child(ends, NULL), reaped = child(ends, NULL), waits = child(until_go, NULL);
	int of_zombie = open_pid(zombie, O_NONBLOCK), of_self = open_pid(getpid(), 0);
	ended = open_pid(reaped, 0);
	must_exit(reaped, 3);
	shared = open_pid(waits, 0);
	int threads = syscall(SYS_pidfd_open, getpid(), PIDFD_THREAD); // since Linux 6.9
	int of_gone = -1;
	expect_eintr = 1;
	MUST(signal(SIGUSR1, note) != SIG_ERR);
	pthread_t t = thread(mates, NULL);
	while (!mate)
		nap_ms(1);
	if (threads >= 0) {
		of_mate = open_pid(mate, PIDFD_THREAD | O_NONBLOCK);
		MUST(pthread_join(thread(at_once, &of_gone), NULL) == 0 && of_gone >= 0);
	}
	int ep = epoll_create1(0);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, shared, &(struct epoll_event){.events = EPOLLIN}) == 0);
	int threads_ep = epoll_create1(0);
	MUST(of_mate < 0 || epoll_ctl(threads_ep, EPOLL_CTL_ADD, of_mate, &(struct epoll_event){.events = EPOLLIN}) == 0);
	MUST(fcntl(shared, F_SETFD, 0) == 0);
	pid_t a = child(shares, NULL), b = child(shares, NULL);
	int of_a = open_pid(a, 0);
	gate_wait(gate, 2);
	while (ready_now(of_zombie) == 0)
		nap_ms(1);
	ready_wait();

	siginfo_t si = {0};
	MUST(fcntl(shared, F_GETFD) == 0 && fcntl(of_self, F_GETFD) == FD_CLOEXEC && fcntl(of_zombie, F_GETFL) & O_NONBLOCK);
	MUST(ready_now(ended) == 1 && waitid(P_PIDFD, ended, &si, WEXITED) == -1 && errno == ECHILD);
	MUST(ready_now(of_zombie) == 1 && waitid(P_PIDFD, of_zombie, &si, WEXITED) == 0 && si.si_pid == zombie && si.si_status == 3);
	MUST(ready_now(of_self) == 0 && syscall(SYS_pidfd_send_signal, of_self, 0, NULL, 0) == 0);
	MUST(threads < 0 || (fcntl(threads, F_GETFL) & PIDFD_THREAD && syscall(SYS_pidfd_send_signal, threads, 0, NULL, 0) == 0));
	MUST(fcntl(shared, F_SETFL, O_NONBLOCK) == 0);
	gate_pass(gate);
	must_exit(a, 0), must_exit(b, 0);
	if (threads >= 0) {
		MUST(ready_now(of_gone) == 1 && syscall(SYS_pidfd_send_signal, of_gone, 0, NULL, 0) == -1 && errno == ESRCH);
		MUST(ready_now(of_mate) == 0 && (fcntl(of_mate, F_GETFL) & (PIDFD_THREAD | O_NONBLOCK)) == (PIDFD_THREAD | O_NONBLOCK));
		MUST(syscall(SYS_pidfd_send_signal, of_mate, SIGUSR1, NULL, 0) == 0);
		struct epoll_event e;
		while (epoll_wait(threads_ep, &e, 1, 10000) == -1)
			MUST(errno == EINTR);
		MUST(signalled == mate && ready_now(of_mate) == 1);
	} else
		signalled = mate;
	MUST(pthread_join(t, NULL) == 0);
	MUST(ready_now(of_a) == 1);
	struct epoll_event e;
	MUST(epoll_wait(ep, &e, 1, 10000) == 1);
	must_exit(waits, 0);
	ok();
}
