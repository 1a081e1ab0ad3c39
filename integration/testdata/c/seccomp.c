// seccomp: filters of processes and of single threads, which let fail also what
// a snapshot calls in them.
#include "prog.h"
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/utsname.h>

static volatile int *gate;
// deny makes a filter that gives action for call nr.
static void deny(int nr, unsigned action, int flags) {
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {4, f};
	MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p) == 0);
}
static int filters(void) {
	char buf[4096], path[100];
	snprintf(path, sizeof path, "/proc/self/task/%d/status", gettid());
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, buf, sizeof buf - 1);
	close(fd);
	MUST(n > 0);
	buf[n] = 0;
	char *at = strstr(buf, "Seccomp_filters:\t");
	MUST(at);
	return atoi(at + 17);
}
static int errno_of(long nr, long arg) { return syscall(nr, arg) < 0 ? errno : 0; }

static volatile int base, more;
static void *stricter(void *unused UNUSED) {
	deny(SYS_getsid, SECCOMP_RET_ERRNO | 79, 0);
	more = 1;
	while (more != 2)
		nap_ms(20);
	MUST(errno_of(SYS_getsid, 0) == 79 && errno_of(SYS_getppid, 0) == 77 && filters() == base + 1);
	syscall(SYS_exit, 0);
	return NULL;
}
static int filtered(void *drop) {
	struct utsname u;
	int before = filters();
	pthread_t t UNUSED;
	deny(SYS_getppid, SECCOMP_RET_ERRNO | 77, 0);
	deny(SYS_uname, SECCOMP_RET_ERRNO | 78, SECCOMP_FILTER_FLAG_LOG);
	base = before + 4;
	deny(SYS_rt_sigqueueinfo, SECCOMP_RET_KILL_PROCESS, 0);
	deny(SYS_getitimer, SECCOMP_RET_ERRNO | 80, 0); // asked for by a snapshot
	thread(stricter, NULL);
	while (!more)
		nap_ms(1);
	if (drop) { // the filters came without no_new_privs
		struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct __user_cap_data_struct d[2] = {{0}, {0}};
		MUST(syscall(SYS_capset, &h, d) == 0);
	}
	gate_pass(gate);
	while (*gate != 100)
		nap_ms(20);
	MUST(filters() == base);
	MUST(errno_of(SYS_getppid, 0) == 77 && errno_of(SYS_getsid, 0) == 0);
	MUST(uname(&u) == -1 && errno == 78);
	more = 2;
	nap_ms(100);
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	MUST(errno_of(SYS_getitimer, 0) == 80);
	syscall(SYS_rt_sigqueueinfo, 0, 0, NULL); // dies of it
	return 1;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	pid_t a = child(filtered, NULL), b = child(filtered, (void *)1);
	gate_wait(gate, 2);
	ready_wait();
	*gate = 100;
	int st;
	for (int i = 0; i < 2; i++) {
		pid_t pid = i ? b : a;
		MUST(waitpid(pid, &st, 0) == pid);
		CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS, "filtered %d: status %#x", i, st);
	}
	ok();
}
