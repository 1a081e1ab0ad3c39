// handdown: things shared past those that do not have them: a grandparent and a
// grandchild share descriptors, directories or memory, and the process between
// them has left them, by unshare(2) or execve(2); siblings whose parent has left
// what they share, with different exit signals; one that has lost its maker and
// is another's child now, which does not share.
#include "prog.h"
#include "word.h"

enum { PEERS = 16 };

struct peer {
	volatile pid_t pid;
	volatile int turn, done;
};
// It is a memfd, so that it can be had after execve(2), too.
static struct shared {
	struct peer peers[PEERS];
} *all;
static volatile int plain[PEERS]; // shared with CLONE_VM
static int count;

enum { SHARED = 90 }; // its descriptor
static void map_shared(void) {
	all = mmap(NULL, sizeof *all, RW, MAP_SHARED, SHARED, 0);
	MUST(all != MAP_FAILED);
}
static void change(int i) {
	plain[i] = 1;
	MUST(dup2(0, 100 + i) == 100 + i && chdir("/") == 0);
}
static void change_back(int i) {
	plain[i] = 0;
	MUST(close(100 + i) == 0 && chdir("/dev") == 0);
}
static int seen(int i) {
	char cwd[100];
	MUST(syscall(SYS_getcwd, cwd, sizeof cwd) > 0);
	return (plain[i] ? CLONE_VM : 0) | (fcntl(100 + i, F_GETFD) >= 0 ? CLONE_FILES : 0) | (strcmp(cwd, "/") == 0 ? CLONE_FS : 0);
}
// serve changes things when it is told to, and ends.
static void serve(int i) {
	struct peer *p = &all->peers[i];
	p->pid = getpid();
	set(&p->done, 1);
	until(&p->turn, 1);
	change(i);
	set(&p->done, 2);
	until(&p->turn, 2);
	change_back(i);
	set(&p->done, 3);
	syscall(SYS_exit_group, 0);
}
// watch has peer i change things, and looks which of them it has in common.
static void watch(int i, int want, const char *who) {
	struct peer *p = &all->peers[i];
	set(&p->turn, 1);
	until(&p->done, 2);
	int got = seen(i);
	CHECK(got == want, "%s of peer %d: changes seen %#x, want %#x", who, i, got, want);
}
static void finish(int i) {
	struct peer *p = &all->peers[i];
	set(&p->turn, 2);
	until(&p->done, 3);
}

static int run(void *arg) {
	serve((struct peer *)arg - all->peers);
	return 0;
}
// start makes peer i, which begins to serve.
static void start(int i, int flags, int (*fn)(void *)) {
	char *stack = mmap(NULL, 64 * KiB, RW, ANON, -1, 0);
	MUST(stack != MAP_FAILED);
	MUST(clone(fn, stack + 64 * KiB, flags, &all->peers[i]) > 0);
	until(&all->peers[i].done, 1);
}

// The process between has an end of its own: it waits for the peer below it.
static void stay(int i) {
	struct peer *p = &all->peers[i];
	set(&p[1].done, 10);
	until(&p[1].turn, 10);
	watch(i, 0, "parent");
	finish(i);
	must_exit(p->pid, 0);
	set(&p[1].done, 11);
	syscall(SYS_exit_group, 0);
}
static int between_flags;
static int between(void *arg) {
	int i = (struct peer *)arg - all->peers;
	start(i, between_flags | SIGCHLD, run);
	MUST(unshare(between_flags) == 0);
	MUST(chdir("/dev") == 0);
	stay(i);
	return 0;
}
static char *self[] = {"/proc/self/exe", NULL, NULL, "between", NULL, NULL, NULL};
static int executes(void *arg) {
	int i = (struct peer *)arg - all->peers;
	start(i, between_flags | SIGCHLD, run);
	char number[20];
	snprintf(number, sizeof number, "%d", i);
	self[4] = number;
	execve(self[0], self, environ);
	fail("execve");
}
// past makes a peer that has flags in common with us, below one that has not.
static int past(int flags, int (*fn)(void *)) {
	between_flags = flags;
	int i = count;
	char *stack = mmap(NULL, 64 * KiB, RW, ANON, -1, 0);
	MUST(stack != MAP_FAILED && clone(fn, stack + 64 * KiB, flags | SIGCHLD, &all->peers[i]) > 0);
	until(&all->peers[i + 1].done, 10);
	count += 2;
	return i;
}
static void check_past(int i, int flags) {
	struct peer *p = &all->peers[i];
	set(&p->turn, 1);
	until(&p->done, 2);
	int got = seen(i);
	CHECK(got == flags, "grandchild %d: changes seen %#x, want %#x", i, got, flags);
	set(&p[1].turn, 10);
	until(&p[1].done, 11);
	CHECK(!seen(i), "grandchild %d: %#x stays", i, seen(i));
	MUST(waitpid(-1, NULL, 0) > 0);
}

// family has two peers that share flags and differ in their exit signals; it has left what they share.
static int family_flags, family_signal;
static int family(void) {
	int i = count;
	start(i, family_flags | SIGCHLD, run);
	start(i + 1, family_flags | family_signal, run);
	count += 2;
	MUST(unshare(family_flags & (CLONE_FS | CLONE_FILES)) == 0 && chdir("/dev") == 0);
	return i;
}

// lost has a child that makes a peer and ends: that becomes ours.
static int lost_flags;
static int loses(void *arg) {
	start((struct peer *)arg - all->peers, lost_flags | SIGCHLD, run);
	syscall(SYS_exit_group, 0);
	return 0;
}
// serves and, before it begins, makes one that makes another and ends.
static int serves_and_loses(void *arg) {
	struct peer *p = arg;
	char *stack = mmap(NULL, 64 * KiB, RW, ANON, -1, 0);
	pid_t pid = clone(loses, stack + 64 * KiB, lost_flags | SIGCHLD, p + 1);
	MUST(stack != MAP_FAILED && pid > 0 && waitpid(pid, NULL, 0) == pid);
	return run(p);
}
static int lost(int flags) {
	int i = count;
	lost_flags = flags;
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	start(i, SIGCHLD, serves_and_loses);
	count += 2;
	return i;
}
// check_pair checks that the peers have flags in common: the first is asked by what the second's changes leave.
static void check_pair(int i, int flags) {
	struct peer *p = &all->peers[i];
	for (int k = 0; k < 2; k++) {
		watch(i + k, 0, "parent");
		if (k == 1)
			continue;
		// What the one has changed, the other changes back, where it shares it.
		char name[64];
		snprintf(name, sizeof name, "/proc/%d/fd/%d", p[1].pid, 100 + i);
		CHECK((access(name, F_OK) == 0) == !!(flags & CLONE_FILES), "peer %d has descriptor: %d", i + 1, access(name, F_OK) == 0);
		char link[100] = "";
		snprintf(name, sizeof name, "/proc/%d/cwd", p[1].pid);
		MUST(readlink(name, link, sizeof link - 1) > 0);
		CHECK((strcmp(link, "/") == 0) == !!(flags & CLONE_FS), "peer %d is in %s", i + 1, link);
		snprintf(name, sizeof name, "/proc/%d/mem", p[1].pid);
		int value = -1, fd = open(name, O_RDONLY);
		MUST(fd >= 0 && pread(fd, &value, sizeof value, (off_t)&plain[i]) == sizeof value && close(fd) == 0);
		CHECK(value == !!(flags & CLONE_VM), "peer %d has word %d", i + 1, value);
		finish(i);
		must_exit(p->pid, 0);
	}
	finish(i + 1);
	MUST(syscall(SYS_wait4, p[1].pid, NULL, __WALL, NULL) == p[1].pid);
}

int main(int argc, char **argv) {
	if (argc == 5 && !strcmp(argv[3], "between")) {
		prog_init(argc, argv);
		map_shared();
		stay(atoi(argv[4]));
	}
	prog_init(argc, argv);
	MUST(go_path[0] == '/' && log_path[0] == '/'); // cwd changes
	self[1] = argv[1], self[2] = argv[2];
	int fd = memfd_create("peers", 0);
	MUST(fd >= 0 && ftruncate(fd, sizeof *all) == 0 && dup2(fd, SHARED) == SHARED && close(fd) == 0);
	map_shared();
	MUST(chdir("/dev") == 0);
	family_flags = CLONE_FILES | CLONE_FS, family_signal = SIGUSR1;
	int two = family();
	family_flags = CLONE_FS, family_signal = 0;
	int dirs = family();
	int files = past(CLONE_FILES, between), both = past(CLONE_FILES | CLONE_FS, between);
	int memory = past(CLONE_VM, executes), much = past(CLONE_VM | CLONE_FILES | CLONE_SIGHAND, executes);
	int orphan = lost(CLONE_FILES | CLONE_FS), orphan_memory = lost(CLONE_VM | CLONE_FILES);
	signal(SIGUSR1, SIG_IGN);
	ready_wait();
	check_past(files, CLONE_FILES);
	check_past(both, CLONE_FILES | CLONE_FS);
	check_past(memory, CLONE_VM);
	check_past(much, CLONE_VM | CLONE_FILES);
	check_pair(two, CLONE_FILES | CLONE_FS);
	check_pair(dirs, CLONE_FS);
	check_pair(orphan, CLONE_FILES | CLONE_FS);
	check_pair(orphan_memory, CLONE_VM | CLONE_FILES);
	MUST(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
	ok();
}
