// sharing: processes that clone(2) has made with every combination of CLONE_VM,
// CLONE_FILES, CLONE_FS and CLONE_SIGHAND, children, grandchildren and siblings:
// what one changes, exactly those that share it see.
#include "prog.h"
#include "word.h"

struct peer {
	int flags, index;
	pid_t pid;
	int make; // flags for a process that it makes itself, or 0
	volatile int turn, done, saw;
};
static struct peer *peers; // shared by all, whatever they share otherwise
static int plain[64];      // shared with CLONE_VM
static int count;

static void handler(int sig UNUSED) {}
static void change(int i) {
	plain[i] = 1;
	int fd = open("/dev/null", O_RDWR);
	MUST(dup2(fd, 100 + i) == 100 + i && close(fd) == 0);
	MUST(chdir("/") == 0);
	signal(SIGRTMIN + 1 + i % 20, handler);
}
static void change_back(int i) {
	plain[i] = 0;
	close(100 + i);
	MUST(chdir("/dev") == 0);
	signal(SIGRTMIN + 1 + i % 20, SIG_DFL);
}
// seen tells which changes are visible here.
static int seen(int i) {
	char cwd[100];
	struct sigaction sa;
	int flags = 0;
	if (plain[i])
		flags |= CLONE_VM;
	if (fcntl(100 + i, F_GETFD) >= 0)
		flags |= CLONE_FILES;
	MUST(syscall(SYS_getcwd, cwd, sizeof cwd) > 0);
	if (strcmp(cwd, "/") == 0)
		flags |= CLONE_FS;
	MUST(sigaction(SIGRTMIN + 1 + i % 20, NULL, &sa) == 0);
	if (sa.sa_handler == handler)
		flags |= CLONE_SIGHAND;
	return flags;
}
static void start(struct peer *p, int more);

static int run(void *arg) {
	struct peer *p = arg;
	if (p->make)
		start(&peers[p->index + 1], p->make);
	p->pid = getpid();
	set(&p->done, 1);
	until(&p->turn, 1);
	if (p->make) { // it looks at what its own child or sibling does
		struct peer *q = p + 1;
		set(&q->turn, 1);
		until(&q->done, 2);
		p->saw = seen(q->index);
		set(&q->turn, 2);
		until(&q->done, 3);
		if (!(p->make & CLONE_PARENT))
			waitpid(q->pid, NULL, 0);
	}
	change(p->index);
	set(&p->done, 2);
	until(&p->turn, 2);
	change_back(p->index);
	set(&p->done, 3);
	syscall(SYS_exit_group, 0);
	return 0;
}
static void start(struct peer *p, int flags) {
	char *stack = mmap(NULL, 64 * KiB, RW, ANON, -1, 0);
	MUST(stack != MAP_FAILED);
	MUST(clone(run, stack + 64 * KiB, flags | SIGCHLD, p) > 0);
	until(&p->done, 1);
}
static void add(int flags, int make) {
	struct peer *p = &peers[count];
	*p = (struct peer){.flags = flags, .index = count, .make = make};
	count++;
	if (make) {
		peers[count].index = count;
		count++;
	}
	start(p, flags);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	static char go[500], out[500];
	MUST(realpath(argv[2], out) || errno == ENOENT);
	snprintf(go, sizeof go, "%s", go_path);
	MUST(go[0] == '/'); // cwd changes
	MUST(chdir("/dev") == 0);
	peers = map(64 * KiB, RW, SHANON);
	static const int kinds[] = {CLONE_VM, CLONE_FILES, CLONE_FS};
	for (int set = 0; set < 8; set++) {
		int flags = 0;
		for (int k = 0; k < 3; k++)
			if (set & 1 << k)
				flags |= kinds[k];
		add(flags, 0);
		if (flags & CLONE_VM)
			add(flags | CLONE_SIGHAND, 0);
	}
	add(CLONE_FS, CLONE_FS | CLONE_FILES);                  // a grandchild that shares more
	add(CLONE_FILES, CLONE_VM);                             // and another kind
	add(0, CLONE_PARENT | CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND); // siblings that share
	add(CLONE_VM, CLONE_PARENT | CLONE_VM | CLONE_SIGHAND);
	ready_wait();
	for (int i = 0; i < count; i++) {
		struct peer *p = &peers[i];
		set(&p->turn, 1);
		until(&p->done, 2);
		int got = seen(i);
		CHECK(got == p->flags, "process %d: changes seen %#x, want %#x", i, got, p->flags);
		set(&p->turn, 2);
		until(&p->done, 3);
		CHECK(!seen(i), "process %d: %#x stays", i, seen(i));
		if (p->make) {
			int want = p->make & ~CLONE_PARENT;
			CHECK(p->saw == want, "process %d saw %#x of its own, want %#x", i, p->saw, want);
			if (p->make & CLONE_PARENT)
				MUST(waitpid(p[1].pid, NULL, 0) == p[1].pid);
			i++;
		}
		MUST(waitpid(p->pid, NULL, 0) == p->pid);
	}
	MUST(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
	ok();
}
