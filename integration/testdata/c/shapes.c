// shapes SEED: a tree of random shape: processes that share memory, descriptors and
// directories or have left them, that are adopted, dead or stopped, with threads and attributes. Every
// process writes down how it sees itself, and after the snapshot checks that it
// is still so; what can be seen only once, such as data in pipes and queues of
// signals, it takes out and compares with what was put in.
#include "prog.h"
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/personality.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { MOST = 24, DEEPEST = 3, REGIONS = 12, PIPES = 6, QUEUED = 8, CHILDREN = 4, THREADS = 3, TIMERS = 4 };

static struct shared {
	int tasks, complete, written; // processes and threads, those that are complete, and have written down what they see
	int looking;                  // one does
	int processes, looked;        // those that check themselves, and have looked again
	int checked;                  // and have found what can be seen only once
	int next, built[200];         // a tree is built by one process at a time, for the sake of the seed
	pid_t pids[200];              // of those that live
} volatile *all;
// idle is wait_go for many: so that they are all seen asleep at the same time.
static void idle(void) {
	while (!went())
		nap_ms(200);
}
static void add(volatile int *counter) { __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST); }
static void reach(volatile int *counter, volatile int *goal) {
	while (__atomic_load_n(counter, __ATOMIC_SEQ_CST) < __atomic_load_n(goal, __ATOMIC_SEQ_CST))
		nap_ms(1);
}

// The state of this process, from which it checks itself.
static struct region {
	uint64_t *at, seed;
	size_t size;
} regions[REGIONS];
static struct {
	int in, out, size;
	unsigned seed;
} pipes[PIPES];
static struct {
	int sig, value;
} queued[QUEUED];
static struct {
	pid_t pid;
	int status, stopped;
} children[CHILDREN];
static pthread_t threads[THREADS];
static int timers[TIMERS];
static int n_regions, n_pipes, n_queued, n_children, n_threads, n_timers, depth, files, place;

static uint64_t seed;
static unsigned rnd(unsigned below) {
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return (seed >> 20) % below;
}

static void add_region(int flags) {
	if (n_regions == REGIONS)
		return;
	struct region *r = &regions[n_regions++];
	r->size = (1 + rnd(30)) * PAGE, r->seed = rnd(1 << 30);
	r->at = map(r->size, RW, flags);
	fill(r->at, r->size, r->seed);
	if (rnd(3) == 0)
		MUST(mprotect(r->at, r->size, PROT_READ) == 0);
}
static void anon(void) { add_region(ANON); }
static void shanon(void) { add_region(SHANON); }
static void mapped_file(void) {
	char name[64];
	size_t size = (1 + rnd(5)) * PAGE;
	snprintf(name, sizeof name, "map-%d-%d", getpid(), files++);
	int fd = rnd(2) ? open(name, O_RDWR | O_CREAT | O_EXCL, 0600) : memfd_create(name, 0);
	if (fd < 0 && errno == ENOENT)
		return; // the directory is gone
	MUST(fd >= 0 && ftruncate(fd, size) == 0);
	uint64_t *p = mmap(NULL, size, RW, MAP_SHARED, fd, 0);
	MUST(p != MAP_FAILED);
	if (n_regions == REGIONS)
		return;
	regions[n_regions++] = (struct region){p, rnd(1 << 30), size};
	fill(p, size, regions[n_regions - 1].seed);
	if (rnd(2))
		close(fd);
}
static void a_pipe(void) {
	int p[2];
	char buf[5000];
	if (n_pipes == PIPES)
		return;
	MUST(pipe2(p, rnd(2) ? O_CLOEXEC : 0) == 0);
	unsigned s = rnd(256);
	int size = rnd(sizeof buf);
	for (int i = 0; i < size; i++)
		buf[i] = s + i * 7;
	MUST(write(p[1], buf, size) == size);
	pipes[n_pipes].in = p[0], pipes[n_pipes].out = p[1], pipes[n_pipes].size = size, pipes[n_pipes].seed = s;
	n_pipes++;
}
// a_pair is like a pipe, but for what it is.
static void a_pair(void) {
	static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	int p[2];
	char buf[5000];
	if (n_pipes == PIPES)
		return;
	MUST(socketpair(AF_UNIX, kinds[rnd(3)] | (rnd(2) ? SOCK_CLOEXEC : 0), 0, p) == 0);
	unsigned s = rnd(256);
	int size = 1 + rnd(sizeof buf - 1);
	for (int i = 0; i < size; i++)
		buf[i] = s + i * 7;
	MUST(send(p[1], buf, size, 0) == size);
	if (rnd(4) == 0)
		MUST(shutdown(p[1], SHUT_WR) == 0);
	pipes[n_pipes].in = p[0], pipes[n_pipes].out = p[1], pipes[n_pipes].size = size, pipes[n_pipes].seed = s;
	n_pipes++;
}
// segment is System V shared memory, which is gone with the last who has it.
static void segment(void) {
	if (n_regions == REGIONS)
		return;
	struct region *r = &regions[n_regions++];
	r->size = (1 + rnd(5)) * PAGE, r->seed = rnd(1 << 30);
	int id = shmget(IPC_PRIVATE, r->size, 0600);
	MUST(id >= 0);
	r->at = shmat(id, NULL, 0);
	MUST(r->at != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0);
	fill(r->at, r->size, r->seed);
}
static void a_file(void) {
	char name[64], buf[3000];
	snprintf(name, sizeof name, "file-%d-%d", getpid(), files++);
	int fd = open(name, O_RDWR | O_CREAT | (rnd(3) ? 0 : O_APPEND), 0600);
	if (fd < 0 && errno == ENOENT)
		return;
	memset(buf, rnd(256), sizeof buf);
	MUST(fd >= 0 && write(fd, buf, 1 + rnd(sizeof buf)) > 0);
	lseek(fd, rnd(2000), SEEK_SET);
	if (rnd(3) == 0)
		unlink(name);
	if (rnd(3) == 0)
		flock(fd, rnd(2) ? LOCK_SH : LOCK_EX);
	if (rnd(3) == 0)
		fcntl(dup(fd), F_SETFD, FD_CLOEXEC);
}
static void counters(void) {
	int e = eventfd(rnd(1000), rnd(2) ? EFD_NONBLOCK : 0), t = timerfd_create(CLOCK_MONOTONIC, 0), ep = epoll_create1(0);
	struct itimerspec far = {{rnd(100), 5}, {5000 + rnd(1000), 0}};
	struct epoll_event ev = {EPOLLIN | (rnd(2) ? EPOLLET : 0), {.u64 = rnd(1 << 30)}};
	MUST(e >= 0 && t >= 0 && ep >= 0 && timerfd_settime(t, 0, &far, NULL) == 0);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev) == 0 && epoll_ctl(ep, EPOLL_CTL_ADD, t, &ev) == 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + rnd(20));
	MUST(signalfd(-1, &set, 0) >= 0);
}
static void nothing(int sig UNUSED) {}
static void dispositions(void) {
	static const int sigs[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGALRM, SIGPIPE, SIGWINCH, SIGURG};
	struct sigaction sa = {.sa_handler = rnd(2) ? nothing : SIG_IGN, .sa_flags = SA_RESTART | (rnd(2) ? SA_ONSTACK : 0)};
	sigaddset(&sa.sa_mask, 1 + rnd(30));
	MUST(sigaction(sigs[rnd(7)], &sa, NULL) == 0);
}
static void queue(void) {
	if (n_queued == QUEUED)
		return;
	sigset_t one;
	int sig = SIGRTMIN + 1 + rnd(3), value = rnd(1 << 30);
	sigemptyset(&one);
	sigaddset(&one, sig);
	MUST(sigprocmask(SIG_BLOCK, &one, NULL) == 0);
	MUST(sigqueue(getpid(), sig, (union sigval){.sival_int = value}) == 0);
	queued[n_queued].sig = sig, queued[n_queued++].value = value;
}
static void a_timer(void) {
	static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID};
	struct sigevent ev = {.sigev_notify = rnd(2) ? SIGEV_SIGNAL : SIGEV_NONE, .sigev_signo = SIGRTMIN + 9, .sigev_value.sival_int = rnd(99)};
	struct itimerspec far = {{rnd(50), rnd(1000)}, {3000 + rnd(1000), 0}};
	if (n_timers == TIMERS)
		return;
	if (rnd(2)) // so that there are gaps between the ids
		MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &timers[n_timers]) == 0 && syscall(SYS_timer_delete, timers[n_timers]) == 0);
	MUST(syscall(SYS_timer_create, clocks[rnd(4)], &ev, &timers[n_timers]) == 0);
	MUST(syscall(SYS_timer_settime, timers[n_timers], 0, &far, NULL) == 0);
	n_timers++;
	struct itimerval it = {{rnd(9), 0}, {4000 + rnd(100), 0}};
	MUST(setitimer(rnd(2) ? ITIMER_REAL : ITIMER_VIRTUAL, &it, NULL) == 0);
}
static void attributes(void) {
	char name[16];
	snprintf(name, sizeof name, "r%u", rnd(1 << 20));
	prctl(PR_SET_NAME, name);
	setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + rnd(3));
	umask(rnd(0100) & ~0600);
	prctl(PR_SET_TIMERSLACK, 1000 + rnd(100000));
	prctl(PR_SET_DUMPABLE, 1);
	personality(rnd(2) ? ADDR_NO_RANDOMIZE : 0);
	struct rlimit l = {1000 + rnd(20), 1100 + rnd(20)};
	setrlimit(rnd(2) ? RLIMIT_NOFILE : RLIMIT_CORE, &l);
	if (rnd(4) == 0)
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (rnd(4) == 0)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
}
static void directory(void) {
	char name[64], up[80];
	snprintf(name, sizeof name, "dir-%d-%d", getpid(), files++);
	if (mkdir(name, 0700) != 0)
		return; // the directory is gone
	MUST(chdir(name) == 0);
	snprintf(up, sizeof up, "../%s", name);
	if (rnd(4) == 0)
		MUST(rmdir(up) == 0);
}
static void position(void) {
	if (rnd(2))
		setsid();
	else
		setpgid(0, 0);
}

// see writes down how the process sees itself, without changing anything.
static int put(char *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int put(char *at, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	int n = vsprintf(at, fmt, ap);
	va_end(ap);
	return n;
}
// umask_now: one at a time, since to look is to change it, and others share it.
static unsigned umask_now(void) {
	while (__atomic_exchange_n(&all->looking, 1, __ATOMIC_SEQ_CST))
		nap_ms(1);
	mode_t mask = umask(0);
	umask(mask);
	__atomic_store_n(&all->looking, 0, __ATOMIC_SEQ_CST);
	return mask;
}
static void see(char *at) {
	char path[400] = "gone", name[17] = "";
	struct stat st;
	struct rlimit l;
	struct sigaction sa;
	sigset_t set;
	MUST(syscall(SYS_getcwd, path, sizeof path) > 0 || errno == ENOENT);
	unsigned mask = umask_now();
	prctl(PR_GET_NAME, name);
	at += put(at, "pid %d pgid %d sid %d cwd %s umask %o name %s nice %d slack %d persona %x nnp %d\n", getpid(), getpgrp(), getsid(0),
	          path, mask, name, getpriority(PRIO_PROCESS, 0), prctl(PR_GET_TIMERSLACK), personality(0xffffffff), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (getrlimit(i, &l) == 0)
			at += put(at, "limit %d %lx %lx\n", i, l.rlim_cur, l.rlim_max);
	for (int sig = 1; sig < 65; sig++)
		if (sigaction(sig, NULL, &sa) == 0)
			at += put(at, "%d:%p,%x,%lx ", sig, (void *)sa.sa_handler, sa.sa_flags, *(long *)&sa.sa_mask);
	sigprocmask(SIG_BLOCK, NULL, &set);
	at += put(at, "\nmask %lx ", *(long *)&set);
	sigpending(&set);
	at += put(at, "pending %lx\n", *(long *)&set);
	for (int fd = 3; fd < 200; fd++) { // the first three are the restart's
		if (fstat(fd, &st) != 0)
			continue;
		int file = S_ISREG(st.st_mode);
		at += put(at, "fd %d mode %o size %ld links %d pos %ld flags %x %x\n", fd, st.st_mode, file ? (long)st.st_size : 0, file ? (int)st.st_nlink : 0,
		          (long)lseek(fd, 0, SEEK_CUR), fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	}
	at += put(at, "shares");
	for (int i = 0; i < all->next; i++)
		for (int what = KCMP_VM; all->pids[i] && what <= KCMP_SIGHAND; what++)
			if (what != KCMP_IO && syscall(SYS_kcmp, getpid(), all->pids[i], what, 0, 0) == 0)
				at += put(at, " %d:%d", what, i);
	at += put(at, "\n");
	for (int i = 0; i < n_timers; i++) {
		struct itimerspec its;
		MUST(syscall(SYS_timer_gettime, timers[i], &its) == 0);
		at += put(at, "timer %d interval %ld.%ld armed %d\n", timers[i], its.it_interval.tv_sec, its.it_interval.tv_nsec, its.it_value.tv_sec > 2000);
	}
}

static void *in_thread(void *s) {
	char name[17], now[17] = "";
	sigset_t mask, got;
	unsigned r = (uintptr_t)s;
	snprintf(name, sizeof name, "t%u", r);
	prctl(PR_SET_NAME, name);
	setpriority(PRIO_PROCESS, gettid(), 5 + r % 10); // as far as an ordinary user may
	int nice = getpriority(PRIO_PROCESS, gettid());
	sigemptyset(&mask);
	sigaddset(&mask, 1 + r % 8);
	sigaddset(&mask, SIGRTMIN + 5);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	MUST(pthread_sigqueue(pthread_self(), SIGRTMIN + 5, (union sigval){.sival_int = r}) == 0);
	uint64_t own = r % 3 ? 0 : r, got_own; // it leaves the descriptors of the process, or stays
	if (own) {
		MUST(unshare(CLONE_FILES | (r % 2 ? CLONE_FS : 0)) == 0);
		int e = eventfd(0, 0);
		MUST(e >= 0 && write(e, &own, sizeof own) == sizeof own && dup2(e, 150) == 150 && close(e) == 0);
	}
	add(&all->complete);
	reach(&all->complete, &all->tasks);
	add(&all->written);
	idle();
	if (own)
		MUST(read(150, &got_own, sizeof got_own) == sizeof got_own && got_own == own);
	prctl(PR_GET_NAME, now);
	CHECK(!strcmp(name, now), "thread is %s, was %s", now, name);
	int now_nice = getpriority(PRIO_PROCESS, gettid());
	CHECK(now_nice == nice, "thread is of nice %d, was %d", now_nice, nice);
	pthread_sigmask(SIG_BLOCK, NULL, &got);
	MUST(!memcmp(&mask, &got, 8));
	siginfo_t si;
	struct timespec none = {0, 0};
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, SIGRTMIN + 5);
	MUST(sigtimedwait(&one, &si, &none) == SIGRTMIN + 5 && si.si_int == (int)r && si.si_code == SI_QUEUE);
	return NULL;
}

static void live(int status);
static void a_child(void) {
	static const int share[] = {0, 0, 0, CLONE_FS, CLONE_FILES, CLONE_FS | CLONE_FILES, CLONE_FILES, CLONE_FS};
	if (n_children == CHILDREN || depth == DEEPEST || all->next >= MOST)
		return;
	int status = 1 + rnd(100), zombie = rnd(4) == 0, stops = !zombie && rnd(5) == 0, flags = zombie ? 0 : share[rnd(8)];
	int lost = !zombie && !stops && rnd(5) == 0; // its maker ends
	uint64_t its = rnd(1 << 30) + 1;
	int number = all->next++;
	all->tasks += !zombie, all->processes += !zombie && !stops;
	pid_t pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	MUST(pid >= 0);
	if (lost && pid == 0) {
		pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
		MUST(pid >= 0);
		if (pid > 0)
			_exit(0);
	} else if (lost) {
		must_exit(pid, 0);
	}
	if (pid == 0) {
		all->pids[number] = getpid();
		if (zombie)
			_exit(status);
		// What belongs to the parent alone, and what only it may take out.
		n_children = n_pipes = n_queued = n_threads = n_timers = 0;
		seed = its, depth++, place = number;
		if (stops) {
			add(&all->complete), add(&all->written); // it does no more
			raise(SIGSTOP);
			_exit(status);
		}
		live(status);
	}
	siginfo_t si;
	if (zombie)
		MUST(waitid(P_PID, pid, &si, WEXITED | WNOWAIT) == 0);
	if (stops)
		MUST(waitid(P_PID, pid, &si, WSTOPPED | (rnd(2) ? WNOWAIT : 0)) == 0);
	while (!zombie && !stops && !all->built[number])
		nap_ms(1);
	if (lost)
		return;
	children[n_children].pid = pid, children[n_children].stopped = stops, children[n_children++].status = status;
}

// leave gives up what it may share, with those that it has made as well.
static void leave(void) {
	static const int what[] = {CLONE_FS, CLONE_FILES, CLONE_FS | CLONE_FILES};
	MUST(unshare(what[rnd(3)]) == 0);
}

static void check_once(void) {
	char buf[5000];
	siginfo_t si;
	struct timespec none = {0, 0};
	for (int i = 0; i < n_regions; i++)
		holds("region", regions[i].at, regions[i].size, regions[i].seed);
	for (int i = 0; i < n_pipes; i++) {
		int n = pipes[i].size ? read(pipes[i].in, buf, sizeof buf) : 0;
		CHECK(n == pipes[i].size, "pipe %d has %d bytes, want %d", i, n, pipes[i].size);
		for (int b = 0; b < n; b++)
			CHECK(buf[b] == (char)(pipes[i].seed + b * 7), "pipe %d byte %d", i, b);
	}
	for (int sig = SIGRTMIN + 1; sig <= SIGRTMIN + 3; sig++) {
		sigset_t one;
		sigemptyset(&one);
		sigaddset(&one, sig);
		for (int i = 0; i < n_queued; i++)
			if (queued[i].sig == sig)
				CHECK(sigtimedwait(&one, &si, &none) == sig && si.si_int == queued[i].value, "queue of %d: %d, want %d", sig, si.si_int, queued[i].value);
		CHECK(sigtimedwait(&one, &si, &none) == -1, "more of signal %d", sig);
	}
}

static void live(int status) {
	static void (*const actions[])(void) = {anon, shanon, mapped_file, a_pipe, a_pair, segment, a_file, counters, dispositions, queue, queue, a_timer,
	                                        attributes, directory, leave, a_child, a_child, a_child, a_child};
	if (depth && rnd(3) == 0)
		position();
	for (unsigned i = 0, steps = 5 + rnd(20); i < steps; i++)
		actions[rnd(sizeof actions / sizeof *actions)]();
	for (unsigned i = rnd(THREADS + 1); i > 0; i--) {
		add(&all->tasks);
		threads[n_threads++] = thread(in_thread, (void *)(uintptr_t)(rnd(1 << 20) + 1));
	}
	static char before[20000], after[20000];

	all->built[place] = 1;
	add(&all->complete);
	reach(&all->complete, &all->tasks); // nobody changes any more what others share
	see(before);
	add(&all->written);
	if (depth == 0) {
		reach(&all->written, &all->tasks);
		ready();
	}
	idle();
	see(after);
	for (char *b = before, *a = after; *b; b = strchr(b, '\n') + 1, a = strchr(a, '\n') + 1) {
		size_t n = strchr(b, '\n') - b;
		CHECK(!strncmp(a, b, n + 1), "now %.*s, was %.*s", (int)(strchr(a, '\n') - a), a, (int)n, b);
	}
	add(&all->looked);
	reach(&all->looked, &all->processes); // nobody changes what others still look at
	check_once();
	add(&all->checked);
	for (int i = 0; i < n_threads; i++)
		MUST(pthread_join(threads[i], NULL) == 0);
	for (int i = 0; i < n_children; i++) {
		if (children[i].stopped)
			MUST(kill(children[i].pid, SIGCONT) == 0);
		must_exit(children[i].pid, children[i].status);
	}
	if (depth == 0) {
		reach(&all->checked, &all->processes);
		ok();
	}
	_exit(status);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	MUST(argc > 3 && go_path[0] == '/');
	seed = strtoull(argv[3], NULL, 10) * 0x9e3779b97f4a7c15u | 1;
	for (int i = 0; i < 20; i++)
		rnd(2);
	all = map(PAGE, RW, SHANON);
	all->tasks = all->processes = all->next = 1;
	all->pids[0] = getpid();
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0); // all stay in the tree
	umask(022);
	live(0);
}
