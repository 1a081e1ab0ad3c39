// creds: processes that root has started as others: ids, groups, all sets of
// capabilities, securebits, and what only privilege can set of a thread.
#include "prog.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif

static volatile int *gate;
static void caps(uint64_t *eff, uint64_t *perm, uint64_t *inh) {
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	MUST(syscall(SYS_capget, &h, d) == 0);
	*eff = d[0].effective | (uint64_t)d[1].effective << 32;
	*perm = d[0].permitted | (uint64_t)d[1].permitted << 32;
	*inh = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
}
static int user(void *unused UNUSED) {
	gid_t groups[] = {7, 8, 9}, got[10];
	MUST(setgroups(3, groups) == 0 && setresgid(11, 12, 13) == 0);
	MUST(setresuid(101, 102, 103) == 0);
	prctl(PR_SET_DUMPABLE, 1);
	gate_pass(gate);
	wait_go();
	uid_t r, e, s;
	uint64_t eff, perm, inh;
	getresuid(&r, &e, &s);
	CHECK(r == 101 && e == 102 && s == 103, "uids %d %d %d", r, e, s);
	getresgid(&r, &e, &s);
	CHECK(r == 11 && e == 12 && s == 13, "gids %d %d %d", r, e, s);
	MUST(getgroups(10, got) == 3 && got[0] == 7 && got[2] == 9);
	MUST(setfsuid(-1) == 102);
	caps(&eff, &perm, &inh);
	CHECK(eff == 0 && perm == 0, "capabilities %#lx %#lx", eff, perm);
	return 0;
}
static int keeps_one(void *unused UNUSED) {
	MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_TIME) == 0);
	prctl(PR_SET_KEEPCAPS, 1);
	MUST(setresuid(200, 200, 200) == 0);
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{1 << CAP_NET_BIND_SERVICE, 1 << CAP_NET_BIND_SERVICE | 1 << CAP_CHOWN, 0}, {0, 0, 0}};
	MUST(syscall(SYS_capset, &h, d) == 0);
	prctl(PR_SET_DUMPABLE, 1);
	gate_pass(gate);
	wait_go();
	uint64_t eff, perm, inh;
	caps(&eff, &perm, &inh);
	CHECK(prctl(PR_CAPBSET_READ, CAP_SYS_TIME) == 0 && prctl(PR_CAPBSET_READ, CAP_CHOWN) == 1, "bounding set");
	CHECK(eff == 1 << CAP_NET_BIND_SERVICE && perm == (1 << CAP_NET_BIND_SERVICE | 1 << CAP_CHOWN), "capabilities %#lx %#lx", eff, perm);
	return 0;
}

// sets: all five sets of capabilities, and securebits with their locks.
static int sets(void *unused UNUSED) {
	const uint64_t one = 1 << CAP_NET_RAW, two = one | 1 << CAP_KILL;
	const int bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP;
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	MUST(syscall(SYS_capget, &h, d) == 0);
	d[0].inheritable = two;
	MUST(syscall(SYS_capset, &h, d) == 0);
	MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0);
	for (int c = 0; c <= CAP_AUDIT_READ; c++)
		if (c != CAP_NET_RAW && c != CAP_SYS_TTY_CONFIG)
			prctl(PR_CAPBSET_DROP, c); // not: those that the process never had
	MUST(prctl(PR_SET_SECUREBITS, bits) == 0);
	struct __user_cap_data_struct last[2] = {{one, two, two}, {0, 0, 0}};
	MUST(syscall(SYS_capset, &h, last) == 0);
	gate_pass(gate);
	wait_go();
	uint64_t eff, perm, inh;
	caps(&eff, &perm, &inh);
	CHECK(eff == one && perm == two && inh == two, "capabilities %#lx %#lx %#lx", eff, perm, inh);
	CHECK(prctl(PR_GET_SECUREBITS) == bits, "securebits %#x, want %#x", prctl(PR_GET_SECUREBITS), bits);
	for (int c = 0; c <= CAP_AUDIT_READ; c++) {
		MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) == (c == CAP_NET_RAW));
		CHECK(prctl(PR_CAPBSET_READ, c) == (c == CAP_NET_RAW || c == CAP_SYS_TTY_CONFIG), "bounding set: %d", c);
	}
	return 0;
}
// own: a thread with ids of its own.
static volatile int set_up;
static void *own(void *unused UNUSED) {
	MUST(syscall(SYS_setfsuid, 1234) == 0 && syscall(SYS_setresgid, 5, 6, 7) == 0);
	gate_pass(&set_up);
	wait_go();
	gid_t r, e, s;
	MUST(syscall(SYS_getresgid, &r, &e, &s) == 0);
	CHECK(r == 5 && e == 6 && s == 7, "gids of the thread %d %d %d", r, e, s);
	MUST(syscall(SYS_setfsuid, -1) == 1234);
	return NULL;
}
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};
static void *deadline(void *unused UNUSED) {
	struct attr a = {.size = sizeof a, .policy = SCHED_DEADLINE, .flags = 1, .runtime = 2000000, .deadline = 50000000, .period = 100000000};
	MUST(syscall(SYS_sched_setattr, 0, &a, 0) == 0);
	gate_pass(&set_up);
	wait_go();
	struct attr b = {0};
	MUST(syscall(SYS_sched_getattr, 0, &b, sizeof b, 0) == 0);
	CHECK(b.policy == SCHED_DEADLINE && b.flags == 1 && b.runtime == a.runtime && b.deadline == a.deadline && b.period == a.period,
	      "policy %u flags %#lx runtime %lu deadline %lu period %lu", b.policy, b.flags, b.runtime, b.deadline, b.period);
	return NULL;
}
static void *realtime(void *unused UNUSED) {
	struct sched_param sp = {7};
	MUST(sched_setscheduler(0, SCHED_RR, &sp) == 0);
	MUST(syscall(SYS_ioprio_set, 1, gettid(), 1 << 13 | 3) == 0);
	gate_pass(&set_up);
	wait_go();
	MUST(sched_getparam(0, &sp) == 0 && sp.sched_priority == 7 && sched_getscheduler(0) == SCHED_RR);
	MUST(syscall(SYS_ioprio_get, 1, gettid()) == (1 << 13 | 3));
	return NULL;
}
static int threads(void *unused UNUSED) {
	pthread_t t[] = {thread(own, NULL), thread(deadline, NULL), thread(realtime, NULL)};
	gate_wait(&set_up, 3);
	prctl(PR_SET_DUMPABLE, 1);
	gate_pass(gate);
	wait_go();
	for (int i = 0; i < 3; i++)
		MUST(pthread_join(t[i], NULL) == 0);
	gid_t r, e, s;
	MUST(syscall(SYS_getresgid, &r, &e, &s) == 0);
	CHECK(r == 0 && e == 0 && s == 0, "gids of the first thread %d %d %d", r, e, s);
	CHECK(prctl(PR_GET_DUMPABLE) == 1, "dumpable %d", prctl(PR_GET_DUMPABLE));
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	umask(0); // the children append to the log
	say("start");
	chmod(log_path, 0666);
	pid_t a = child(user, NULL), b = child(keeps_one, NULL), c = child(sets, NULL), d = child(threads, NULL);
	gate_wait(gate, 4);
	ready_wait();
	must_exit(a, 0), must_exit(b, 0), must_exit(c, 0), must_exit(d, 0);
	ok();
}
