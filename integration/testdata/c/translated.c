// translated: what a program sees of process ids, in every kind of call, of its own
// processes and of new ones: restarted with --ids=translate it sees no difference.
#include "prog.h"
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static pid_t self, waited[3], grouped, blocked_tid;
static volatile int got, got_pid;
static int pair[2], owned;
static pthread_t sleeper_thread;

static void note(int sig, siginfo_t *i, void *unused UNUSED) {
	got = sig;
	got_pid = i->si_pid;
}
static void handle(int sig, int flags) {
	struct sigaction a = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | flags};
	MUST(sigaction(sig, &a, NULL) == 0);
}
static void *sleeper(void *unused UNUSED) {
	blocked_tid = gettid();
	pthread_cleanup_push((void (*)(void *))abort, NULL);
	pthread_cleanup_pop(0);
	for (;;)
		pause();
	return NULL;
}
// stays until it is told to go by a signal, or exits with a code by SIGUSR1.
static void leave(int sig UNUSED) { _exit(7); }
static int stays(void *unused UNUSED) {
	struct sigaction a = {.sa_handler = leave};
	sigaction(SIGUSR1, &a, NULL);
	for (;;)
		pause();
	return 0;
}

static void names(pid_t pid, const char *what) {
	char name[64], text[100] = {};
	struct stat st;
	snprintf(name, sizeof name, "/proc/%d/comm", pid);
	int fd = open(name, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && !strcmp(text, "translated\n"), "%s: %s is %s", what, name, text);
	close(fd);
	snprintf(name, sizeof name, "/proc/%d", pid);
	MUST(stat(name, &st) == 0 && S_ISDIR(st.st_mode));
	snprintf(name, sizeof name, "/proc/%d/exe", pid);
	char mine[200] = {}, theirs[200] = {};
	MUST(readlink("/proc/self/exe", mine, sizeof mine - 1) > 0 && readlink(name, theirs, sizeof theirs - 1) > 0 && !strcmp(mine, theirs));
	snprintf(name, sizeof name, "/proc/%d/task/%d/comm", pid, pid);
	MUST(access(name, R_OK) == 0);
}

static void own(void) {
	char link[32] = {}, want[32];
	struct sched_param sp;
	struct rlimit l;
	cpu_set_t cpus;
	MUST(getpid() == self && getpgrp() == self && getpgid(0) == self && getpgid(self) == self && gettid() == self);
	MUST(readlink("/proc/self", link, sizeof link - 1) > 0);
	snprintf(want, sizeof want, "%d", self);
	CHECK(!strcmp(link, want), "/proc/self is %s", link);
	MUST(kill(self, 0) == 0 && kill(-self, 0) == 0 && syscall(SYS_tgkill, self, self, 0) == 0);
	MUST(sched_getparam(self, &sp) == 0 && sched_getscheduler(self) == SCHED_OTHER && sched_getaffinity(self, sizeof cpus, &cpus) == 0);
	MUST(prlimit(self, RLIMIT_NOFILE, NULL, &l) == 0 && getpriority(PRIO_PROCESS, self) == getpriority(PRIO_PROCESS, 0));
	struct ucred c;
	socklen_t n = sizeof c;
	MUST(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 && n == sizeof c);
	MUST(fcntl(owned, F_GETOWN) == -self);
	MUST(fcntl(owned, F_SETOWN, self) == 0 && fcntl(owned, F_GETOWN) == self && fcntl(owned, F_SETOWN, -self) == 0);
	names(self, "self");
	got = 0;
	MUST(raise(SIGUSR2) == 0 && got == SIGUSR2);
	CHECK(got_pid == self, "raise: si_pid %d, want %d", got_pid, self);
	got = 0;
	MUST(kill(self, SIGUSR2) == 0 && got == SIGUSR2);
	MUST(kill(0x3ffffff, 0) == -1 && errno == ESRCH && getpgid(0x3ffffff) == -1 && errno == ESRCH);
}

static void others(void) {
	for (int i = 0; i < 3; i++) {
		MUST(kill(waited[i], 0) == 0 && getpgid(waited[i]) == (waited[i] == grouped ? grouped : self) && getsid(waited[i]) == getsid(0));
		names(waited[i], "child");
		int status;
		MUST(waitpid(waited[i], &status, WNOHANG) == 0);
	}
	int fd = pidfd_open(waited[0], 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	MUST(fd >= 0 && poll(&p, 1, 0) == 0);
	close(fd);
}

// fresh children are as ever.
static int grand(void *unused UNUSED) { return getppid() == *(volatile pid_t *)&self ? 0 : 1; }
static int fresh(void *unused UNUSED) {
	pid_t me = getpid(), parent = getppid();
	CHECK(parent == self, "a new child's parent is %d, want %d", parent, self);
	CHECK(me == gettid() && me != self, "%d, %d", me, gettid());
	self = me; // for grand
	must_exit(child(grand, NULL), 0);
	MUST(setpgid(0, 0) == 0 && getpgrp() == me);
	return 0;
}

static void alarm_only(int sig UNUSED) {}
static void waits(void) {
	int status;
	struct rusage ru;
	struct sigaction a = {.sa_handler = alarm_only};
	sigaction(SIGALRM, &a, NULL);
	struct itimerval soon = {.it_value = {0, 50000}};
	setitimer(ITIMER_REAL, &soon, NULL);
	int e = wait4(-1, &status, 0, &ru);
	CHECK(e == -1 && errno == EINTR, "wait4 interrupted gives %d", e);
	a.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	pid_t killer = fork();
	if (killer == 0) {
		usleep(150000);
		_exit(kill(waited[0], SIGUSR1) != 0);
	}
	e = waitpid(waited[0], &status, 0);
	CHECK(e == waited[0] && WIFEXITED(status) && WEXITSTATUS(status) == 7, "waitpid gives %d, %#x", e, status);
	e = waitpid(killer, &status, 0);
	CHECK(e == killer && status == 0, "waitpid of a new child gives %d, %#x", e, status);
	siginfo_t info = {};
	MUST(kill(waited[1], SIGSTOP) == 0);
	MUST(waitid(P_PID, waited[1], &info, WSTOPPED) == 0);
	CHECK(info.si_pid == waited[1] && info.si_code == CLD_STOPPED && info.si_signo == SIGCHLD, "waitid: %d %d", info.si_pid, info.si_code);
	MUST(kill(waited[1], SIGKILL) == 0);
	e = wait4(-1, &status, 0, &ru);
	CHECK(e == waited[1] && WIFSIGNALED(status), "wait4 gives %d, %#x", e, status);
	MUST(kill(-grouped, SIGUSR1) == 0);
	e = waitpid(-grouped, &status, 0);
	CHECK(e == waited[2] && WEXITSTATUS(status) == 7, "waitpid of a group gives %d, %#x", e, status);
	MUST(waitpid(-1, &status, 0) == -1 && errno == ECHILD);
	MUST(kill(waited[2], 0) == -1 && errno == ESRCH);
}

static void cancels(void) {
	void *ret;
	MUST(syscall(SYS_tgkill, self, blocked_tid, 0) == 0);
	MUST(pthread_kill(sleeper_thread, SIGUSR2) == 0);
	MUST(pthread_cancel(sleeper_thread) == 0 && pthread_join(sleeper_thread, &ret) == 0 && ret == PTHREAD_CANCELED);
	MUST(syscall(SYS_tgkill, self, blocked_tid, 0) == -1 && errno == ESRCH);
}

// dies has calls fail at some time, and then for good, when the answerer is killed.
static void dies(void) {
	ready();
	for (int dead = 0; !dead;) {
		got = 0;
		pid_t pid = syscall(SYS_getpid);
		dead = pid == -1;
		CHECK(pid == self || (dead && errno == ENOSYS), "getpid gives %d", pid);
		int e = kill(self, SIGUSR2);
		CHECK((e == 0 && got == SIGUSR2 && !dead) || (e == -1 && errno == ENOSYS), "kill gives %d, signal %d", e, got);
		dead |= e == -1;
	}
	for (int nr, i = 0; (nr = (int[]){SYS_getpid, SYS_getppid, SYS_gettid, SYS_getpgrp, SYS_getsid, SYS_getpgid, 0}[i]); i++)
		MUST(syscall(nr, 0) == -1 && errno == ENOSYS);
	MUST(kill(self, 0) == -1 && errno == ENOSYS && waitpid(-1, NULL, WNOHANG) == -1 && errno == ENOSYS);
	MUST(fork() == -1 && errno == ENOSYS && open("/proc/self/comm", O_RDONLY) == -1 && errno == ENOSYS);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	if (argc > 3) {
		self = getpid();
		handle(SIGUSR2, SA_RESTART);
		int fd = open(argv[2], O_WRONLY | O_APPEND | O_CREAT, 0666);
		dies();
		_exit(write(fd, "ok\n", 3) != 3); // which needs no open
	}
	setpgid(0, 0);
	self = getpid();
	handle(SIGUSR2, SA_RESTART);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	owned = pair[1];
	MUST(fcntl(owned, F_SETOWN, -self) == 0);
	sleeper_thread = thread(sleeper, NULL);
	while (!blocked_tid)
		usleep(1000);
	for (int i = 0; i < 3; i++)
		waited[i] = child(stays, NULL);
	MUST(setpgid(grouped = waited[2], 0) == 0);
	own();
	others();
	ready_wait();
	own();
	others();
	must_exit(child(fresh, NULL), 0);
	others();
	waits();
	cancels();
	own();
	ok();
}
