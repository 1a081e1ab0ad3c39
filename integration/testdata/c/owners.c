// owners: who gets a signal about a descriptor, and which: a process, a group,
// a thread that is not the leader, nobody; leases, read and write, which
// another process then breaks.
#include "prog.h"
#include <poll.h>
#include <sys/ioctl.h>

static int to_proc[2], to_group[2], to_thread[2], to_child[2], lease_r, lease_w;
static volatile pid_t tid;

static void *waits(void *unused UNUSED) {
	sigset_t set;
	sigemptyset(&set), sigaddset(&set, SIGRTMIN + 3);
	tid = syscall(SYS_gettid);
	siginfo_t si;
	MUST(sigwaitinfo(&set, &si) == SIGRTMIN + 3);
	CHECK(si.si_fd == to_thread[0] && si.si_code == POLL_IN, "fd %d code %d", si.si_fd, si.si_code);
	return NULL;
}
static int breaks(void *unused UNUSED) {
	sigset_t set;
	sigemptyset(&set), sigaddset(&set, SIGIO), sigprocmask(SIG_BLOCK, &set, NULL);
	wait_go();
	siginfo_t si;
	MUST(sigwaitinfo(&set, &si) == SIGIO); // of to_child
	MUST(open("leased_r", O_WRONLY | O_NONBLOCK) == -1 && errno == EWOULDBLOCK);
	MUST(open("leased_w", O_RDONLY | O_NONBLOCK) == -1 && errno == EWOULDBLOCK);
	int now = open("leased_w", O_RDONLY); // waits until it is given up
	MUST(now >= 0);
	return 0;
}
static void must_signal(int sig, int fd) {
	sigset_t set;
	sigemptyset(&set), sigaddset(&set, sig);
	siginfo_t si;
	struct timespec t = {10, 0};
	int got = sigtimedwait(&set, &si, &t);
	CHECK(got == sig && (fd < 0 || si.si_fd == fd), "signal %d about fd %d, want %d about %d", got, si.si_fd, sig, fd);
}
static void own(int fd, int type, pid_t id, int sig, int async) {
	struct f_owner_ex o = {type, id};
	MUST(fcntl(fd, F_SETOWN_EX, &o) == 0 && fcntl(fd, F_SETSIG, sig) == 0);
	MUST(!async || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0);
}
static void owned(int fd, int type, pid_t id, int sig, int async) {
	struct f_owner_ex o;
	MUST(fcntl(fd, F_GETOWN_EX, &o) == 0);
	CHECK((int)o.type == type && o.pid == id, "owner %d %d, want %d %d", o.type, o.pid, type, id);
	CHECK(fcntl(fd, F_GETSIG) == sig, "signal %d, want %d", fcntl(fd, F_GETSIG), sig);
	MUST(!(fcntl(fd, F_GETFL) & O_ASYNC) == !async);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	sigset_t set;
	sigemptyset(&set), sigaddset(&set, SIGIO), sigaddset(&set, SIGUSR2);
	for (int i = 0; i < 8; i++)
		sigaddset(&set, SIGRTMIN + i);
	sigprocmask(SIG_BLOCK, &set, NULL);
	MUST(!pipe(to_proc) && !pipe(to_group) && !pipe(to_thread) && !pipe(to_child));
	close(open("leased_r", O_RDWR | O_CREAT, 0600)), close(open("leased_w", O_RDWR | O_CREAT, 0600));
	pthread_t t = thread(waits, NULL);
	while (!tid)
		nap_ms(1);
	pid_t c = child(breaks, NULL);
	lease_r = open("leased_r", O_RDONLY), lease_w = open("leased_w", O_RDWR);
	MUST(fcntl(lease_r, F_SETSIG, SIGRTMIN + 5) == 0 && fcntl(lease_w, F_SETSIG, SIGRTMIN + 6) == 0);
	MUST(fcntl(lease_r, F_SETLEASE, F_RDLCK) == 0 && fcntl(lease_w, F_SETLEASE, F_WRLCK) == 0);
	own(to_proc[0], F_OWNER_PID, getpid(), SIGRTMIN, 1);
	own(to_group[0], F_OWNER_PGRP, getpgrp(), SIGRTMIN + 1, 0);
	own(to_thread[0], F_OWNER_TID, tid, SIGRTMIN + 3, 1);
	own(to_child[0], F_OWNER_PID, c, 0, 1);
	ready_wait();

	owned(to_proc[0], F_OWNER_PID, getpid(), SIGRTMIN, 1);
	owned(to_group[0], F_OWNER_PGRP, getpgrp(), SIGRTMIN + 1, 0);
	owned(to_thread[0], F_OWNER_TID, tid, SIGRTMIN + 3, 1);
	owned(to_child[0], F_OWNER_PID, c, 0, 1);
	MUST(fcntl(lease_r, F_GETLEASE) == F_RDLCK && fcntl(lease_w, F_GETLEASE) == F_WRLCK);
	MUST(write(to_proc[1], "x", 1) == 1 && write(to_thread[1], "x", 1) == 1);
	must_signal(SIGRTMIN, to_proc[0]);
	MUST(pthread_join(t, NULL) == 0);
	MUST(write(to_group[1], "x", 1) == 1);
	sigset_t pending;
	MUST(sigpending(&pending) == 0 && !sigismember(&pending, SIGRTMIN + 1));
	MUST(write(to_child[1], "x", 1) == 1);
	must_signal(SIGRTMIN + 5, lease_r);
	must_signal(SIGRTMIN + 6, lease_w);
	MUST(fcntl(lease_r, F_SETLEASE, F_UNLCK) == 0 && fcntl(lease_w, F_SETLEASE, F_UNLCK) == 0);
	must_exit(c, 0);
	ok();
}
