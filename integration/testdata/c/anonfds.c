// anonfds: eventfd, timerfd, signalfd and memfd in all their modes.
#include "prog.h"
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static uint64_t read64(int fd) {
	uint64_t v = 0;
	return read(fd, &v, 8) == 8 ? v : (uint64_t)-1;
}
static void settime(int fd, int flags, double first, double every) {
	struct itimerspec its = {{(long)every, (every - (long)every) * 1e9}, {(long)first, (first - (long)first) * 1e9}};
	MUST(timerfd_settime(fd, flags, &its, NULL) == 0);
}
static volatile int *gate;
static int ev, mem;
static int shares(void *m) {
	wait_go();
	gate_wait(gate, 1);
	MUST(((volatile char *)m)[100] == 'P');
	MUST(write(ev, &(uint64_t){5}, 8) == 8 && pwrite(mem, "C", 1, 101) == 1);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	ev = eventfd(0, EFD_NONBLOCK);
	int sem = eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC), huge = eventfd(0, EFD_NONBLOCK);
	MUST(write(huge, &(uint64_t){0xfffffffffffffff0}, 8) == 8); // more than initval can say

	int one = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), every = timerfd_create(CLOCK_MONOTONIC, 0), far = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK),
	    ticked = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK), idle = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	int cancel = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK); // read(2) tells when the clock is set
	settime(cancel, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, now_on(CLOCK_REALTIME) + 7000, 0);
	settime(one, 0, 0.001, 0), settime(every, 0, 0.02, 0.02), settime(far, TFD_TIMER_ABSTIME, now_on(CLOCK_REALTIME) + 5000, 0), settime(ticked, 0, 0.001, 3600);

	sigset_t set;
	sigemptyset(&set), sigaddset(&set, SIGUSR1), sigaddset(&set, SIGRTMIN + 5);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int sfd = signalfd(-1, &set, SFD_NONBLOCK);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN + 5, (union sigval){.sival_int = 4711});

	mem = memfd_create("kept", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	int sealed = memfd_create("sealed", MFD_ALLOW_SEALING), plain = memfd_create("a b", 0);
	MUST(ftruncate(mem, MiB) == 0 && pwrite(mem, "memory", 6, 5000) == 6 && lseek(mem, 42, SEEK_SET) == 42);
	MUST(write(sealed, "done", 4) == 4 && fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	MUST(ftruncate(plain, 10 * GiB) == 0 && pwrite(plain, "x", 1, 9 * GiB) == 1);
	char *m = mmap(NULL, MiB, RW, MAP_SHARED, mem, 0), *ro = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, sealed, 0);
	char *priv = mmap(NULL, MiB, RW, MAP_PRIVATE, mem, 0);
	MUST(m != MAP_FAILED && ro != MAP_FAILED && priv != MAP_FAILED);
	fill(m + 8 * PAGE, PAGE, 1), fill(priv + 9 * PAGE, PAGE, 2);
	pid_t c = child(shares, m);
	nap_ms(5); // one and ticked expire
	ready_wait();

	m[100] = 'P';
	gate_pass(gate);
	must_exit(c, 0);
	CHECK(read64(ev) == 5, "eventfd is not shared");
	MUST(read64(ev) == (uint64_t)-1 && errno == EAGAIN);
	MUST(read64(sem) == 1 && read64(sem) == 1 && read64(sem) == 1 && fcntl(sem, F_GETFD) == FD_CLOEXEC);
	MUST(read64(huge) == 0xfffffffffffffff0);

	uint64_t n = read64(one);
	CHECK(n == 1, "one-shot timerfd: %ld", n);
	n = read64(ticked);
	CHECK(n == 1, "timerfd that ticked before: %ld", n);
	struct itimerspec its;
	MUST(timerfd_gettime(ticked, &its) == 0 && its.it_interval.tv_sec == 3600 && its.it_value.tv_sec > 3400);
	MUST(timerfd_gettime(far, &its) == 0);
	CHECK(its.it_value.tv_sec > 4900 && its.it_value.tv_sec <= 5000, "%ld s left of 5000", its.it_value.tv_sec);
	MUST(timerfd_gettime(cancel, &its) == 0);
	CHECK(its.it_value.tv_sec > 6900 && its.it_value.tv_sec <= 7000, "%ld s left of 7000", its.it_value.tv_sec);
	MUST(read64(cancel) == (uint64_t)-1 && errno == EAGAIN); // no ECANCELED
	char form[64], info[1000] = {0};
	snprintf(form, sizeof form, "/proc/self/fdinfo/%d", cancel);
	int info_fd = open(form, O_RDONLY);
	MUST(info_fd >= 0 && read(info_fd, info, sizeof info - 1) > 0 && close(info_fd) == 0);
	CHECK(strstr(info, "settime flags: 03"), "timerfd is not cancelled when the clock is set: %s", info);
	MUST(timerfd_gettime(idle, &its) == 0 && its.it_value.tv_sec == 0 && its.it_value.tv_nsec == 0);
	MUST(read64(every) >= 1 && read64(every) >= 1); // blocks, ticks

	struct signalfd_siginfo si;
	MUST(read(sfd, &si, sizeof si) == sizeof si && si.ssi_signo == SIGUSR1);
	MUST(read(sfd, &si, sizeof si) == sizeof si && (int)si.ssi_signo == SIGRTMIN + 5 && si.ssi_int == 4711);
	MUST(read(sfd, &si, sizeof si) == -1 && errno == EAGAIN);

	char buf[8] = {0};
	struct stat st;
	MUST(pread(mem, buf, 6, 5000) == 6 && !strcmp(buf, "memory") && lseek(mem, 0, SEEK_CUR) == 42);
	MUST(m[101] == 'C' && priv[101] == 'C');
	holds("memfd", m + 8 * PAGE, PAGE, 1), holds("private memfd page", priv + 9 * PAGE, PAGE, 2);
	MUST(fstat(mem, &st) == 0 && st.st_size == (off_t)MiB && fcntl(mem, F_GET_SEALS) == 0);
	CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), "seals %#x", fcntl(sealed, F_GET_SEALS));
	MUST(!memcmp(ro, "done", 4) && write(sealed, "x", 1) == -1 && errno == EPERM);
	MUST(fcntl(plain, F_GET_SEALS) == F_SEAL_SEAL && pread(plain, buf, 1, 9 * GiB) == 1 && buf[0] == 'x');
	ok();
}
