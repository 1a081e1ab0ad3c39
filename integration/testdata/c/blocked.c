// blocked NAME: the snapshot finds the main thread inside one system call. A
// sibling lets it go on; the call must give what it gives without a snapshot.
#include "sysv.h"
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int p[2];        // a pipe
static volatile int *w; // a word that processes share
static int sem = -1, queue = -1;
static pid_t self, sib;
static volatile int caught;
static void on_usr1(int sig UNUSED) { caught++; }

// What a sibling process does after the go signal.
static int write_byte(void *unused UNUSED) {
	wait_go();
	MUST(write(p[1], "x", 1) == 1);
	return 0;
}
static int exit_42(void *unused UNUSED) {
	wait_go();
	return 42;
}
static int send_usr1(void *unused UNUSED) {
	wait_go();
	MUST(kill(self, SIGUSR1) == 0);
	return 0;
}
static int wake_futex(void *unused UNUSED) {
	wait_go();
	*w = 1;
	MUST(syscall(SYS_futex, w, FUTEX_WAKE, 1, NULL, NULL, 0) >= 0);
	return 0;
}
static int up_sem(void *unused UNUSED) {
	wait_go();
	struct sembuf up = {0, 1, 0};
	MUST(semop(sem, &up, 1) == 0);
	return 0;
}
static struct {
	long type;
	char text[4096];
} message = {.type = 5};
static int send_message(void *unused UNUSED) {
	wait_go();
	message.text[0] = 'x';
	MUST(msgsnd(queue, &message, 1, 0) == 0);
	return 0;
}
static int take_messages(void *unused UNUSED) {
	wait_go();
	while (msgrcv(queue, &message, sizeof message.text, 5, IPC_NOWAIT) >= 0)
		;
	MUST(errno == ENOMSG);
	return 0;
}
static mqd_t posix_queue;
static int send_posix(void *unused UNUSED) {
	wait_go();
	MUST(mq_send(posix_queue, "hello", 5, 3) == 0);
	return 0;
}
static int drain(void *unused UNUSED) {
	wait_go();
	char buf[65536];
	MUST(read(p[0], buf, sizeof buf) == sizeof buf);
	return 0;
}
static int held_fd = -1;
static int unlock_after(void *g) {
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	MUST(fcntl(held_fd, F_SETLK, &fl) == 0);
	gate_pass(g);
	wait_go();
	fl.l_type = F_UNLCK;
	MUST(fcntl(held_fd, F_SETLK, &fl) == 0);
	return 0;
}
static int open_fifo(void *unused UNUSED) {
	wait_go();
	int fd = open("fifo", O_WRONLY);
	MUST(fd >= 0);
	return 0;
}

// go_on starts the sibling and says ready.
static void go_on(int (*fn)(void *)) {
	sib = child(fn, NULL);
	ready();
}
static void byte_is_there(int fd) {
	char c;
	MUST(read(fd, &c, 1) == 1 && c == 'x');
}

static void b_read(void) { go_on(write_byte), byte_is_there(p[0]); }
static void b_poll(void) {
	struct pollfd f = {p[0], POLLIN, 0};
	go_on(write_byte);
	int n = poll(&f, 1, -1);
	CHECK(n == 1 && f.revents == POLLIN, "poll gave %d, revents %#x", n, f.revents);
	byte_is_there(p[0]);
}
static void b_poll_timed(void) {
	struct pollfd f = {p[0], POLLIN, 0};
	go_on(write_byte);
	int n = poll(&f, 1, 100000);
	CHECK(n == 1 && f.revents == POLLIN, "poll gave %d, revents %#x", n, f.revents);
}
static void b_ppoll(void) {
	struct pollfd f = {p[0], POLLIN, 0};
	sigset_t m, was;
	sigfillset(&m);
	sigdelset(&m, SIGTERM);
	sigprocmask(SIG_SETMASK, NULL, &was);
	go_on(write_byte);
	int n = ppoll(&f, 1, NULL, &m);
	CHECK(n == 1 && f.revents == POLLIN, "ppoll gave %d, revents %#x", n, f.revents);
	sigset_t after;
	sigprocmask(SIG_SETMASK, NULL, &after);
	CHECK(!memcmp(&was, &after, 8), "ppoll left its signal mask behind");
}
static void b_select(void) {
	fd_set r;
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	go_on(write_byte);
	int n = select(p[0] + 1, &r, NULL, NULL, NULL);
	CHECK(n == 1 && FD_ISSET(p[0], &r), "select gave %d", n);
}
static void b_pselect_timed(void) {
	fd_set r;
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	struct timespec t = {100, 0};
	sigset_t m;
	sigemptyset(&m);
	go_on(write_byte);
	int n = pselect(p[0] + 1, &r, NULL, NULL, &t, &m);
	CHECK(n == 1 && FD_ISSET(p[0], &r), "pselect gave %d", n);
}
static void epoll(int timeout, int how) {
	int e = epoll_create1(0);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0x123456789abc}, got = {0};
	MUST(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev) == 0);
	sigset_t m;
	sigemptyset(&m);
	struct timespec t = {100, 0};
	go_on(write_byte);
	int n = how == 0 ? epoll_wait(e, &got, 1, timeout)
		: how == 1 ? epoll_pwait(e, &got, 1, timeout, &m)
			   : syscall(441 /* epoll_pwait2 */, e, &got, 1, &t, NULL, 0);
	CHECK(n == 1 && got.data.u64 == ev.data.u64, "epoll_wait gave %d", n);
}
static void b_epoll_wait(void) { epoll(-1, 0); }
static void b_epoll_wait_timed(void) { epoll(100000, 0); }
static void b_epoll_pwait(void) { epoll(-1, 1); }
static void b_epoll_pwait2(void) { epoll(0, 2); }
static void futex(struct timespec *t, int op) {
	go_on(wake_futex);
	int n = syscall(SYS_futex, w, op, 0, t, NULL, FUTEX_BITSET_MATCH_ANY);
	CHECK((n == 0 || errno == EAGAIN) && *w == 1, "futex gave %d, word %d", n, *w);
}
static void b_futex(void) { futex(NULL, FUTEX_WAIT); }
static void b_futex_timed(void) {
	struct timespec t = {100, 0};
	futex(&t, FUTEX_WAIT);
}
static void b_futex_bitset(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += 100;
	futex(&t, FUTEX_WAIT_BITSET);
}
static void b_wait4(void) {
	go_on(exit_42);
	int st = 0;
	pid_t got = wait4(-1, &st, 0, NULL);
	CHECK(got == sib && st == 42 << 8, "wait4 gave %d status %#x", got, st);
	sib = 0;
}
static void b_waitid(void) {
	go_on(exit_42);
	siginfo_t si = {0};
	MUST(waitid(P_PID, sib, &si, WEXITED) == 0);
	CHECK(si.si_pid == sib && si.si_status == 42 && si.si_code == CLD_EXITED, "waitid: pid %d status %d", si.si_pid, si.si_status);
	sib = 0;
}
static void b_pause(void) {
	go_on(send_usr1);
	MUST(pause() == -1 && errno == EINTR);
	MUST(caught == 1);
}
static void b_sigsuspend(void) {
	sigset_t block, none, after;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigaddset(&block, SIGUSR2);
	sigprocmask(SIG_SETMASK, &block, NULL);
	sigemptyset(&none);
	go_on(send_usr1);
	MUST(sigsuspend(&none) == -1 && errno == EINTR);
	MUST(caught == 1);
	sigprocmask(SIG_SETMASK, NULL, &after);
	CHECK(!memcmp(&block, &after, 8), "sigsuspend left its signal mask behind");
}
static void sigwait_for(struct timespec *t) {
	sigset_t set;
	siginfo_t si;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	go_on(send_usr1);
	int n = t ? sigtimedwait(&set, &si, t) : sigwaitinfo(&set, &si);
	CHECK(n == SIGUSR1 && si.si_pid == sib && si.si_code == SI_USER, "sigtimedwait gave %d from %d", n, si.si_pid);
	MUST(caught == 0);
}
static void b_sigwaitinfo(void) { sigwait_for(NULL); }
static void b_sigtimedwait(void) {
	struct timespec t = {100, 0};
	sigwait_for(&t);
}
static void sem_down(struct timespec *t) {
	sem = made("sem", semget(IPC_PRIVATE, 1, 0600));
	struct sembuf down = {0, -1, 0};
	go_on(up_sem);
	int n = semtimedop(sem, &down, 1, t), e = errno;
	semctl(sem, 0, IPC_RMID);
	errno = e;
	CHECK(n == 0, "semop gave %d", n);
}
static void b_semop(void) { sem_down(NULL); }
static void b_semtimedop(void) {
	struct timespec t = {100, 0};
	sem_down(&t);
}
static void b_msgrcv(void) {
	queue = made("msg", msgget(IPC_PRIVATE, 0600));
	message.type = 4;
	MUST(msgsnd(queue, &message, 7, 0) == 0);
	message.type = 5;
	go_on(send_message);
	int n = msgrcv(queue, &message, sizeof message.text, 5, 0), e = errno;
	int left = msgrcv(queue, &message, sizeof message.text, 4, IPC_NOWAIT);
	msgctl(queue, IPC_RMID, NULL);
	errno = e;
	CHECK(n == 1 && left == 7, "msgrcv gave %d, and %d", n, left);
}
static void b_mq_receive(void) {
	char name[40], text[8192];
	unsigned priority;
	snprintf(name, sizeof name, "/supervise-test-%d", getpid());
	posix_queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
	MUST(posix_queue >= 0 && mq_unlink(name) == 0);
	go_on(send_posix);
	int n = mq_receive(posix_queue, text, sizeof text, &priority);
	CHECK(n == 5 && priority == 3, "mq_receive gave %d, priority %u", n, priority);
}
static void b_msgsnd(void) {
	queue = made("msg", msgget(IPC_PRIVATE, 0600));
	while (msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0)
		;
	MUST(errno == EAGAIN);
	go_on(take_messages);
	message.type = 6;
	int n = msgsnd(queue, &message, 3000, 0), e = errno;
	must_exit(sib, 0);
	sib = 0;
	int left = msgrcv(queue, &message, sizeof message.text, 6, IPC_NOWAIT);
	msgctl(queue, IPC_RMID, NULL);
	errno = e;
	CHECK(n == 0 && left == 3000, "msgsnd gave %d, and %d", n, left);
}
static void b_write_full(void) {
	static char buf[65536];
	MUST(fcntl(p[1], F_SETPIPE_SZ, 65536) == 65536);
	MUST(write(p[1], buf, sizeof buf) == sizeof buf);
	go_on(drain);
	int n = write(p[1], "yz", 2);
	CHECK(n == 2, "write gave %d", n);
}
static void b_eventfd(void) {
	close(p[0]), close(p[1]);
	p[0] = p[1] = eventfd(0, 0);
	uint64_t v;
	sib = fork();
	MUST(sib >= 0);
	if (sib == 0) {
		wait_go();
		v = 7;
		MUST(write(p[1], &v, 8) == 8);
		_exit(0);
	}
	ready();
	int n = read(p[0], &v, 8);
	CHECK(n == 8 && v == 7, "read gave %d", n);
}
static void b_signalfd(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, 0);
	go_on(send_usr1);
	struct signalfd_siginfo si;
	int n = read(fd, &si, sizeof si);
	CHECK(n == sizeof si && si.ssi_signo == SIGUSR1 && (pid_t)si.ssi_pid == sib, "read gave %d", n);
}
static void b_timerfd(void) {
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec its = {.it_value = {2, 0}};
	uint64_t v = 0;
	double end = now() + 2;
	MUST(timerfd_settime(fd, 0, &its, NULL) == 0);
	ready();
	int n = read(fd, &v, 8);
	CHECK(n == 8 && v == 1, "read gave %d, %lu expirations", n, v);
	CHECK(now() >= end, "timer expired %.3f s early", end - now());
}
static void b_setlkw(void) {
	volatile int *g = new_gate();
	held_fd = open("lock", O_RDWR | O_CREAT, 0600);
	MUST(held_fd >= 0);
	sib = child(unlock_after, (void *)g);
	gate_wait(g, 1);
	ready();
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int n = fcntl(held_fd, F_SETLKW, &fl);
	CHECK(n == 0 && went(), "F_SETLKW gave %d", n);
}
static void b_open_fifo(void) {
	mkfifo("fifo", 0600);
	go_on(open_fifo);
	int fd = open("fifo", O_RDONLY);
	CHECK(fd >= 0, "open gave %d", fd);
}
static void b_nanosleep(void) {
	struct timespec t = {2, 0};
	double end = now() + 2;
	ready();
	int n = nanosleep(&t, &t);
	CHECK(n == 0, "nanosleep gave %d", n);
	CHECK(now() >= end, "woke %.3f s early", end - now());
}
static void b_clock_abs(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	double start = now();
	t.tv_sec += 2;
	ready();
	int n = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	CHECK(n == 0, "clock_nanosleep gave %d", n);
	CHECK(now() >= start + 1.99, "woke after %.3f s", now() - start);
}
static void b_clock_rel(void) {
	struct timespec t = {2, 0};
	double end = now() + 2;
	ready();
	int n = clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t);
	CHECK(n == 0, "clock_nanosleep gave %d", n);
	CHECK(now() >= end, "woke %.3f s early", end - now());
}

static const struct {
	const char *name;
	void (*run)(void);
} calls[] = {
#define C(n) {#n, b_##n}
	C(read), C(poll), C(poll_timed), C(ppoll), C(select), C(pselect_timed), C(epoll_wait), C(epoll_wait_timed),
	C(epoll_pwait), C(epoll_pwait2), C(futex), C(futex_timed), C(futex_bitset), C(wait4), C(waitid), C(pause),
	C(sigsuspend), C(sigwaitinfo), C(sigtimedwait), C(semop), C(semtimedop), C(msgrcv), C(msgsnd), C(mq_receive), C(write_full), C(eventfd), C(signalfd),
	C(timerfd), C(setlkw), C(open_fifo), C(nanosleep), C(clock_abs), C(clock_rel),
};

int main(int argc, char **argv) {
	prog_init(argc, argv);
	self = getpid();
	w = new_gate();
	MUST(pipe(p) == 0);
	struct sigaction sa = {.sa_handler = on_usr1};
	sigaction(SIGUSR1, &sa, NULL);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (argc > 3 && !strcmp(argv[3], calls[i].name)) {
			calls[i].run();
			if (sib)
				must_exit(sib, 0);
			ok();
		}
	fail("no such call: %s", argc > 3 ? argv[3] : "none");
}
