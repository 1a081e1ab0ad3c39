// creds: processes that root has started as others: ids, groups, capabilities.
#include "prog.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>

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
	prctl(PR_SET_KEEPCAPS, 1);
	MUST(setresuid(200, 200, 200) == 0);
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{1 << CAP_NET_BIND_SERVICE, 1 << CAP_NET_BIND_SERVICE | 1 << CAP_CHOWN, 0}, {0, 0, 0}};
	MUST(syscall(SYS_capset, &h, d) == 0);
	prctl(PR_CAPBSET_DROP, CAP_SYS_TIME);
	prctl(PR_SET_DUMPABLE, 1);
	gate_pass(gate);
	wait_go();
	uint64_t eff, perm, inh;
	caps(&eff, &perm, &inh);
	CHECK(eff == 1 << CAP_NET_BIND_SERVICE && perm == (1 << CAP_NET_BIND_SERVICE | 1 << CAP_CHOWN), "capabilities %#lx %#lx", eff, perm);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	umask(0); // the children append to the log
	say("start");
	chmod(log_path, 0666);
	pid_t a = child(user, NULL), b = child(keeps_one, NULL);
	gate_wait(gate, 2);
	ready_wait();
	must_exit(a, 0), must_exit(b, 0);
	ok();
}
