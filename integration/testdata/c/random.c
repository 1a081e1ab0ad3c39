// random SEED: a tree of processes with state of every kind, all of it chosen
// by the seed. What the kernel does not show from outside, it checks itself.
#include "prog.h"

#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { MOST_PROCESSES = 24, MOST_CHECKS = 400, FAR = 100000 };

static uint64_t rng;
static uint64_t rnd(uint64_t n) { // 0 to n-1; splitmix64
	uint64_t z = (rng += 0x9e3779b97f4a7c15u);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % n;
}

// What all processes of the tree share.
static struct shared {
	volatile int born, settled;
} *tree;

// A check of something made earlier. Processes inherit those of their parents;
// what a check uses up belongs to one process, its owner.
struct check {
	void (*fn)(struct check *);
	pid_t owner; // 0: anybody may check it, any number of times
	int fd, fd2, n;
	uint64_t seed, size;
	void *at;
	timer_t timer;
};
static struct check checks[MOST_CHECKS];
static int n_checks;

static struct check *later(void (*fn)(struct check *), pid_t owner) {
	MUST(n_checks < MOST_CHECKS);
	struct check *c = &checks[n_checks++];
	*c = (struct check){.fn = fn, .owner = owner, .fd = -1, .fd2 = -1};
	return c;
}

// moved puts a descriptor at a random free number, maybe with close-on-exec.
static int moved(int fd) {
	MUST(fd >= 0);
	int to = fcntl(fd, rnd(2) ? F_DUPFD : F_DUPFD_CLOEXEC, 3 + rnd(600));
	MUST(to >= 0);
	close(fd);
	return to;
}

static void name(char *to, const char *what) {
	static int n;
	sprintf(to, "%s-%d-%d", what, getpid(), n++);
}

static void check_memory(struct check *c) { holds("memory", c->at, c->size, c->seed); }
static void memory(void) {
	size_t pages = 1 + rnd(64);
	char *m = map((pages + 4) * PAGE, RW, rnd(3) ? ANON : SHANON);
	struct check *c = later(check_memory, 0);
	c->at = m + PAGE, c->size = (1 + rnd(pages)) * PAGE, c->seed = rnd(1 << 30);
	fill(c->at, c->size, c->seed);
	if (rnd(2))
		MUST(munmap(m + (pages + 2) * PAGE, PAGE) == 0); // a hole
	if (rnd(3) == 0)
		MUST(mprotect(c->at, c->size, PROT_READ) == 0);
}

static void check_nothing(struct check *c UNUSED) {}
static void check_pipe(struct check *c) {
	char got[65536], want[65536];
	fill(want, sizeof want, c->seed);
	MUST(read(c->fd, got, sizeof got) == c->n && memcmp(got, want, c->n) == 0);
}
static void a_pipe(void) {
	int p[2];
	MUST(pipe2(p, rnd(2) ? O_NONBLOCK : 0) == 0);
	struct check *c = later(check_pipe, getpid());
	char data[65536];
	c->seed = rnd(1 << 30), c->n = 1 + rnd(9000);
	fill(data, sizeof data, c->seed);
	MUST(write(p[1], data, c->n) == c->n);
	c->fd = moved(p[0]);
	if (rnd(2))
		close(p[1]);
	else
		c->fd2 = moved(p[1]);
}

static void a_pair(void) { // with a message in it, and maybe one the other way
	static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	int p[2];
	MUST(socketpair(AF_UNIX, kinds[rnd(3)] | (rnd(2) ? SOCK_NONBLOCK : 0), 0, p) == 0);
	char data[65536];
	for (int i = rnd(2); i >= 0; i--) {
		struct check *c = later(check_pipe, getpid());
		c->seed = rnd(1 << 30), c->n = 1 + rnd(9000);
		fill(data, sizeof data, c->seed);
		MUST(write(p[!i], data, c->n) == c->n);
		c->fd = moved(dup(p[i]));
	}
	int keep = rnd(2);
	later(check_nothing, 0)->fd2 = moved(p[keep]);
	if (rnd(2))
		MUST(shutdown(p[!keep], SHUT_WR) == 0);
	close(p[!keep]);
}

static void segment(void) { // gone with the last who has it
	struct check *c = later(check_memory, 0);
	c->size = (1 + rnd(16)) * PAGE, c->seed = rnd(1 << 30);
	int id = shmget(IPC_PRIVATE, c->size, 0600);
	MUST(id >= 0 && (c->at = shmat(id, NULL, 0)) != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0);
	fill(c->at, c->size, c->seed);
}

static void check_file(struct check *c) {
	char *got = map(c->size, RW, ANON);
	MUST(pread(c->fd, got, c->size, 0) == (ssize_t)c->size);
	holds("file", got, c->size, c->seed);
	CHECK(lseek(c->fd, 0, SEEK_CUR) == c->n, "fd %d at %ld, want %d", c->fd, lseek(c->fd, 0, SEEK_CUR), c->n);
	munmap(got, c->size);
}
static void file(void) {
	char path[64];
	name(path, "file");
	int how = rnd(3);
	int fd = how == 0 ? memfd_create("random", 0) : open(path, O_RDWR | O_CREAT | (rnd(2) ? O_APPEND : 0), 0600);
	MUST(fd >= 0);
	struct check *c = later(check_file, 0);
	c->seed = rnd(1 << 30), c->size = 8 * (1 + rnd(4000));
	char *data = map(c->size, RW, ANON);
	fill(data, c->size, c->seed);
	MUST(write(fd, data, c->size) == (ssize_t)c->size);
	munmap(data, c->size);
	c->n = lseek(fd, rnd(2 * c->size), SEEK_SET);
	if (how == 1)
		MUST(unlink(path) == 0);
	if (how == 2 && rnd(2))
		MUST(flock(fd, (rnd(2) ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0);
	c->fd = moved(fd);
}

static void check_eventfd(struct check *c) {
	uint64_t got;
	MUST(read(c->fd, &got, 8) == 8 && got == c->seed);
}
static void an_eventfd(void) {
	struct check *c = later(check_eventfd, getpid());
	c->seed = 1 + rnd(1ull << 40);
	int fd = eventfd(0, rnd(2) ? EFD_NONBLOCK : 0);
	MUST(write(fd, &c->seed, 8) == 8);
	c->fd = moved(fd);
}

static void check_timerfd(struct check *c) {
	struct itimerspec t;
	MUST(timerfd_gettime(c->fd, &t) == 0 && t.it_interval.tv_sec == c->n);
	CHECK(t.it_value.tv_sec > FAR / 2, "timerfd: %ld s left", t.it_value.tv_sec);
}
static void a_timerfd(void) {
	static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME};
	struct check *c = later(check_timerfd, 0);
	c->n = rnd(1000);
	struct itimerspec t = {{c->n, 0}, {FAR, 0}};
	int fd = timerfd_create(clocks[rnd(3)], 0);
	MUST(timerfd_settime(fd, 0, &t, NULL) == 0);
	c->fd = moved(fd);
}

static void an_epoll(void) {
	int ep = epoll_create1(0);
	for (int i = 0; i < n_checks; i++) {
		struct epoll_event ev = {.events = rnd(2) ? EPOLLIN : EPOLLIN | EPOLLET, .data.u64 = rnd(1ull << 60)};
		if (checks[i].fd >= 0 && rnd(2) && epoll_ctl(ep, EPOLL_CTL_ADD, checks[i].fd, &ev) < 0)
			MUST(errno == EPERM || errno == EEXIST); // regular files
	}
	later(check_nothing, 0)->fd2 = moved(ep);
}

static void a_signalfd(void) {
	sigset_t set;
	sigemptyset(&set);
	for (int i = 0; i < 5; i++)
		sigaddset(&set, SIGRTMIN + rnd(20));
	later(check_nothing, 0)->fd2 = moved(signalfd(-1, &set, rnd(2) ? SFD_NONBLOCK : 0));
}

static void check_signal(struct check *c) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, c->n);
	siginfo_t info;
	struct timespec none = {0};
	MUST(sigtimedwait(&set, &info, &none) == c->n);
	CHECK(info.si_value.sival_ptr == (void *)c->seed, "signal %d brings %p, want %#lx", c->n, info.si_value.sival_ptr, c->seed);
}
static void a_signal(void) {
	struct check *c = later(check_signal, getpid());
	c->n = SIGRTMIN + rnd(20), c->seed = rnd(1ull << 60);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, c->n);
	sigprocmask(SIG_BLOCK, &set, NULL);
	MUST(sigqueue(getpid(), c->n, (union sigval){.sival_ptr = (void *)c->seed}) == 0);
}

static void check_timer(struct check *c) {
	struct itimerspec t;
	MUST(timer_gettime(c->timer, &t) == 0 && t.it_interval.tv_sec == c->n);
	CHECK(t.it_value.tv_sec > FAR / 2, "timer: %ld s left", t.it_value.tv_sec);
}
static void a_timer(void) {
	static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME};
	struct check *c = later(check_timer, getpid()); // not inherited over fork
	c->n = rnd(1000);
	struct sigevent ev = {.sigev_notify = rnd(2) ? SIGEV_SIGNAL : SIGEV_NONE, .sigev_signo = SIGRTMIN + rnd(20), .sigev_value.sival_int = c->n};
	struct itimerspec t = {{c->n, 0}, {FAR, 0}};
	MUST(timer_create(clocks[rnd(3)], &ev, &c->timer) == 0 && timer_settime(c->timer, 0, &t, NULL) == 0);
}
static void an_itimer(void) {
	struct itimerval t = {{rnd(1000), 0}, {FAR, 0}};
	MUST(setitimer(rnd(3), &t, NULL) == 0);
}

static void mask(void) {
	sigset_t set;
	sigemptyset(&set);
	for (int i = 0; i < 4; i++)
		sigaddset(&set, 1 + rnd(63));
	sigprocmask(SIG_BLOCK, &set, NULL);
}
static void actions(void) {
	static const int signals[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGWINCH, SIGURG, SIGTTOU, SIGTTIN};
	struct sigaction a = {.sa_handler = SIG_IGN, .sa_flags = rnd(2) ? SA_RESTART : 0};
	MUST(sigaction(signals[rnd(9)], &a, NULL) == 0);
}

static void attributes(void) {
	char path[64];
	switch (rnd(6)) {
	case 0:
		umask(rnd(0100));
		return;
	case 1:
		name(path, "dir");
		MUST(mkdir(path, 0700) == 0 && chdir(path) == 0);
		return;
	case 2:
		MUST(setpriority(PRIO_PROCESS, 0, rnd(19)) == 0 || errno == EACCES); // lower than it is
		return;
	case 3:
		sprintf(path, "n%lu", rnd(1000000));
		prctl(PR_SET_NAME, path);
		return;
	case 4:
		prctl(PR_SET_TIMERSLACK, 50000 + rnd(50000));
		return;
	default: {
		struct rlimit l;
		getrlimit(RLIMIT_CORE, &l);
		l.rlim_cur = rnd(2) && l.rlim_max ? 4096 : 0;
		MUST(setrlimit(RLIMIT_CORE, &l) == 0);
	}
	}
}

static void check_pty(struct check *c) {
	struct winsize w;
	MUST(ioctl(c->fd, TIOCGWINSZ, &w) == 0 && w.ws_row == c->n);
}
static void a_pty(void) {
	int m = posix_openpt(O_RDWR | O_NOCTTY);
	MUST(m >= 0 && unlockpt(m) == 0);
	int s = open(ptsname(m), O_RDWR | O_NOCTTY);
	struct check *c = later(check_pty, 0);
	c->n = 1 + rnd(200);
	struct winsize w = {.ws_row = c->n, .ws_col = rnd(200)};
	MUST(ioctl(s, TIOCSWINSZ, &w) == 0);
	c->fd = moved(m), c->fd2 = moved(s);
}

static void check_zombie(struct check *c) { must_exit(c->fd2, c->n); }
static void a_zombie(void) {
	int code = rnd(200);
	pid_t pid = fork();
	if (pid == 0)
		_exit(code);
	siginfo_t info;
	MUST(waitid(P_PID, pid, &info, WEXITED | WNOWAIT) == 0);
	struct check *c = later(check_zombie, getpid());
	c->fd2 = pid, c->n = code;
}

static void check_stopped(struct check *c) {
	int st;
	kill(c->fd2, SIGKILL);
	kill(c->fd2, SIGCONT);
	do
		MUST(waitpid(c->fd2, &st, WUNTRACED) == c->fd2);
	while (WIFSTOPPED(st));
	MUST(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
}
static void a_stopped(void) {
	pid_t pid = fork();
	if (pid == 0) {
		raise(SIGSTOP);
		_exit(0);
	}
	siginfo_t info;
	MUST(waitid(P_PID, pid, &info, WSTOPPED | (rnd(2) ? WNOWAIT : 0)) == 0);
	struct check *c = later(check_stopped, getpid());
	c->fd2 = pid;
}

// There is a limit for the instances of a user, and many trees at a time.
static void check_watch(struct check *c) {
	char buf[4096], inner[900];
	snprintf(inner, sizeof inner, "%s/new", (char *)c->at);
	int n = -1;
	MUST(ioctl(c->fd, FIONREAD, &n) == 0 && n == 0 && mkdir(inner, 0700) == 0 && rmdir(inner) == 0);
	struct inotify_event *ev = (void *)buf;
	MUST(read(c->fd, buf, sizeof buf) > 0 && ev->wd == c->n && ev->mask == (IN_CREATE | IN_ISDIR) && !strcmp(ev->name, "new"));
}
static void a_watch(void) {
	int in = inotify_init1(rnd(2) ? IN_NONBLOCK : 0);
	if (in < 0)
		return;
	struct check *c = later(check_watch, getpid());
	char path[64];
	for (int i = rnd(4); i >= 0; i--) {
		name(path, "watched");
		MUST(mkdir(path, 0700) == 0 && (c->n = inotify_add_watch(in, path, IN_CREATE | (rnd(2) ? IN_MODIFY : 0) | (rnd(2) ? IN_OPEN : 0))) > 0);
	}
	c->at = realpath(path, NULL);
	MUST(inotify_add_watch(in, path, IN_CREATE) == c->n);
	c->fd = moved(in);
}
static void check_mark(struct check *c) {
	char buf[4096], inner[900];
	snprintf(inner, sizeof inner, "%s/new", (char *)c->at);
	MUST(mkdir(inner, 0700) == 0 && rmdir(inner) == 0);
	struct fanotify_event_metadata *ev = (void *)buf;
	MUST(read(c->fd, buf, sizeof buf) > 0 && (ev->mask & FAN_CREATE));
}
static void a_mark(void) {
	int fan = fanotify_init(FAN_REPORT_FID | (rnd(2) ? FAN_REPORT_DFID_NAME : 0) | (rnd(2) ? FAN_NONBLOCK : 0), rnd(2) ? O_RDWR : 0);
	if (fan < 0)
		return;
	struct check *c = later(check_mark, getpid());
	char path[64];
	name(path, "marked");
	MUST(mkdir(path, 0700) == 0 && fanotify_mark(fan, FAN_MARK_ADD, FAN_CREATE | FAN_ONDIR | (rnd(2) ? FAN_DELETE : 0), AT_FDCWD, path) == 0);
	c->at = realpath(path, NULL), c->fd = moved(fan);
}

static void check_queue(struct check *c) {
	char got[1024], want[1024];
	unsigned prio;
	fill(want, sizeof want, c->seed);
	ssize_t n = mq_receive(c->fd, got, sizeof got, &prio);
	CHECK(n == c->n && prio == c->size && !memcmp(got, want, n), "message of %zd bytes, priority %u, want %d, %lu", n, prio, c->n, c->size);
}
static void a_queue(void) {
	char path[64] = "/";
	name(path + 1, "random");
	struct mq_attr attr = {.mq_maxmsg = 1 + rnd(5), .mq_msgsize = 1024};
	int q = mq_open(path, O_RDWR | O_CREAT | O_EXCL | (rnd(2) ? O_NONBLOCK : 0), 0600, &attr);
	if (q < 0) // the limit
		return;
	MUST(mq_unlink(path) == 0);
	struct check *c = later(check_queue, getpid());
	char data[1024];
	c->seed = rnd(1 << 30), c->n = 1 + rnd(1000), c->size = rnd(9);
	fill(data, sizeof data, c->seed);
	MUST(mq_send(q, data, c->n, c->size) == 0);
	c->fd = moved(q);
}

static void a_fifo(void) {
	char path[64], data[65536];
	name(path, "fifo");
	MUST(mkfifo(path, 0600) == 0);
	int fd = open(path, O_RDWR);
	struct check *c = later(check_pipe, getpid());
	c->seed = rnd(1 << 30), c->n = 1 + rnd(9000);
	fill(data, sizeof data, c->seed);
	MUST(fd >= 0 && write(fd, data, c->n) == c->n);
	if (rnd(2))
		c->fd2 = moved(open(path, O_WRONLY));
	c->fd = moved(fd);
}

// A descriptor that is only in flight, with what it leads to.
static void check_flight(struct check *c) {
	char byte;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} ctl;
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &ctl, .msg_controllen = sizeof ctl};
	MUST(recvmsg(c->fd, &m, 0) == 1 && m.msg_controllen >= CMSG_LEN(sizeof(int)) && ctl.head.cmsg_type == SCM_RIGHTS);
	struct check file = *c;
	memcpy(&file.fd, CMSG_DATA(&ctl.head), sizeof file.fd);
	check_file(&file);
}
static void a_flight(void) {
	int p[2];
	char byte = 'x', path[64];
	MUST(socketpair(AF_UNIX, rnd(2) ? SOCK_STREAM : SOCK_SEQPACKET, 0, p) == 0);
	name(path, "flown");
	int fd = rnd(2) ? memfd_create("flown", 0) : open(path, O_RDWR | O_CREAT, 0600);
	struct check *c = later(check_flight, getpid());
	c->seed = rnd(1 << 30), c->size = 8 * (1 + rnd(500));
	char data[4096];
	fill(data, c->size, c->seed);
	MUST(write(fd, data, c->size) == (ssize_t)c->size);
	c->n = lseek(fd, rnd(2 * c->size), SEEK_SET);
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} ctl = {{.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	memcpy(CMSG_DATA(&ctl.head), &fd, sizeof fd);
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &ctl, .msg_controllen = CMSG_LEN(sizeof fd)};
	MUST(sendmsg(p[1], &m, 0) == 1);
	close(fd);
	if (rnd(2))
		close(p[1]);
	else
		c->fd2 = moved(p[1]);
	c->fd = moved(p[0]);
}

static void locks(void) { // seen in fdinfo; POSIX locks are not inherited
	char path[64];
	name(path, "locked");
	int fd = open(path, O_RDWR | O_CREAT, 0600), own = getpid();
	MUST(fd >= 0 && ftruncate(fd, 1000) == 0);
	for (int i = rnd(4); i >= 0; i--) {
		struct flock l = {.l_type = rnd(2) ? F_RDLCK : F_WRLCK, .l_start = i * 100, .l_len = 1 + rnd(99)};
		MUST(fcntl(fd, rnd(2) ? F_SETLK : F_OFD_SETLK, &l) == 0);
	}
	later(check_nothing, own)->fd2 = fd; // not moved: to close it would be to unlock
}

static void *waits(void *how) {
	if ((long)how >= 4) { // with descriptors, and maybe directories, of its own
		MUST(unshare((long)how >= 8 ? CLONE_FILES | CLONE_FS : CLONE_FILES) == 0);
		MUST(open("/dev/null", O_RDONLY) >= 0);
	}
	static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER;
	int p[2], n;
	sigset_t all;
	switch ((long)how % 4) {
	case 0:
		pthread_mutex_lock(&never);
		pthread_mutex_lock(&never);
		break;
	case 1:
		MUST(pipe(p) == 0);
		n = read(p[0], &n, 1);
		break;
	case 2:
		while (1)
			nap_ms(1000000);
	default:
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
		while (1)
			select(0, NULL, NULL, NULL, NULL);
	}
	return NULL;
}
static void a_thread(void) { thread(waits, (void *)rnd(12)); }

static void (*const makers[])(void) = {
	memory, memory, a_pipe, a_pipe, a_pair, a_pair, segment, file, file, an_eventfd, a_timerfd, an_epoll, a_signalfd, a_signal, a_signal,
	a_timer, an_itimer, mask, actions, attributes, attributes, a_pty, a_zombie, a_stopped,
	a_watch, a_watch, a_mark, a_queue, a_fifo, a_flight, a_flight, locks, locks,
};
static void make_some(int n) {
	while (n-- > 0)
		makers[rnd(sizeof makers / sizeof *makers)]();
}

// forget closes a descriptor that is inherited, or goes on without the check.
static void forget_some(void) {
	for (int i = 0; i < n_checks; i++) {
		struct check *c = &checks[i];
		if (c->fd < 0 || rnd(4))
			continue;
		close(c->fd);
		*c = (struct check){.fn = check_nothing, .fd = -1, .fd2 = -1};
	}
}

// node is a process with room for some more below it.
static void node(int room) {
	pid_t children[4];
	int n_children = 0;
	switch (rnd(4)) {
	case 0:
		setsid();
		break;
	case 1:
		setpgid(0, 0);
	}
	make_some(3 + rnd(5));
	for (int want = rnd(5); n_children < want && room > 0;) {
		uint64_t seed = rnd(1ull << 62);
		int below = rnd(room);
		room -= 1 + below;
		__atomic_add_fetch(&tree->born, 1, __ATOMIC_SEQ_CST);
		pid_t pid = fork();
		MUST(pid >= 0);
		if (pid == 0) {
			rng = seed;
			forget_some();
			node(below);
			_exit(7);
		}
		children[n_children++] = pid;
	}
	make_some(rnd(5));
	for (int i = rnd(4); i > 0; i--)
		a_thread();
	__atomic_add_fetch(&tree->settled, 1, __ATOMIC_SEQ_CST);
	wait_go();
	for (int i = 0; i < n_checks; i++)
		if (checks[i].owner == 0 || checks[i].owner == getpid())
			checks[i].fn(&checks[i]);
	for (int i = 0; i < n_children; i++)
		must_exit(children[i], 7);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	rng = strtoull(argv[3], NULL, 10);
	tree = (void *)new_gate();
	tree->born = 1;
	pid_t root = fork();
	if (root == 0) {
		node(rnd(MOST_PROCESSES));
		_exit(7);
	}
	do
		nap_ms(5);
	while (tree->settled < tree->born);
	nap_ms(20);
	ready_wait();
	must_exit(root, 7);
	ok();
}
