// tables: threads that have left their process (unshare(2)): with descriptors,
// with directories, with both, and threads that they made since, which have
// what they have. Locks, epoll and shared descriptions in each of the tables.
#include "prog.h"
#include <sys/epoll.h>
#include <sys/socket.h>

enum { PIPE = 20, OWN = 30, EPOLL = 31, WORD = 33 };

struct task {
	int leave;         // what it leaves
	struct task *make; // what it makes then
	int files, dirs;   // which table and directories it has, by number
	pthread_t thread;
};
static volatile int *gate;
static struct task *turn; // the thread that checks itself
static int words[2];

static const char *dir_of[] = {"/", "/dev", "/usr", "/etc"};

// open_own opens something that only one table has, at the same numbers.
static void open_own(int table) {
	char name[] = "/tmp/supervise-tables-XXXXXX";
	int fd = mkstemp(name), p[2];
	MUST(fd >= 0 && unlink(name) == 0);
	MUST(ftruncate(fd, 100 + table) == 0 && lseek(fd, table, SEEK_SET) == table);
	MUST(dup2(fd, OWN) == OWN && close(fd) == 0);
	struct flock lock = {.l_type = F_WRLCK, .l_start = table, .l_len = 1};
	MUST(fcntl(OWN, F_SETLK, &lock) == 0);
	MUST(pipe(p) == 0 && write(p[1], &table, sizeof table) == sizeof table);
	MUST(dup2(p[0], PIPE) == PIPE && dup2(p[1], PIPE + 1) == PIPE + 1);
	close(p[0]);
	close(p[1]);
	int ep = epoll_create1(0);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 1000 + table};
	MUST(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, PIPE, &ev) == 0);
	MUST(dup2(ep, EPOLL) == EPOLL && close(ep) == 0);
}

// check_own checks it, and that nobody else has it.
static void check_own(int table) {
	struct stat st;
	int got;
	MUST(fstat(OWN, &st) == 0 && st.st_nlink == 0);
	CHECK(st.st_size == 100 + table, "table %d: file of %ld bytes", table, (long)st.st_size);
	CHECK(lseek(OWN, 0, SEEK_CUR) == table, "table %d: position %ld", table, (long)lseek(OWN, 0, SEEK_CUR));
	struct epoll_event ev = {0};
	MUST(epoll_wait(EPOLL, &ev, 1, 0) == 1);
	CHECK(ev.data.u64 == 1000u + table, "table %d: epoll says %lu", table, (unsigned long)ev.data.u64);
	MUST(read(PIPE, &got, sizeof got) == sizeof got);
	CHECK(got == table, "table %d: pipe of %d", table, got);
	MUST(write(PIPE + 1, &got, sizeof got) == sizeof got);
}

// check_lock looks at the lock from another owner: a description of its own.
static void check_lock(int table) {
	char path[50];
	snprintf(path, sizeof path, "/proc/thread-self/fd/%d", OWN);
	int fd = open(path, O_RDWR);
	MUST(fd >= 0);
	for (int at = 0; at < 5; at++) {
		struct flock lock = {.l_type = F_WRLCK, .l_start = at, .l_len = 1};
		MUST(fcntl(fd, F_OFD_GETLK, &lock) == 0);
		CHECK((lock.l_type != F_UNLCK) == (at == table), "table %d: byte %d has lock %d", table, at, lock.l_type);
	}
	// It is not closed: that would drop the lock (man 2 fcntl).
}

static void check_dir(int dirs) {
	char cwd[100];
	MUST(getcwd(cwd, sizeof cwd));
	CHECK(strcmp(cwd, dir_of[dirs]) == 0, "directories %d: in %s", dirs, cwd);
	mode_t mask = umask(0);
	umask(mask);
	CHECK(mask == 022u + dirs, "directories %d: umask %o", dirs, mask);
}

static void *run(void *arg) {
	struct task *t = arg;
	MUST(!t->leave || unshare(t->leave) == 0);
	if (t->leave & CLONE_FILES) {
		close(OWN); // would drop locks of this table only
		open_own(t->files);
	}
	if (t->leave & CLONE_FS) {
		MUST(chdir(dir_of[t->dirs]) == 0);
		umask(022 + t->dirs);
	}
	if (t->make)
		t->make->thread = thread(run, t->make);
	gate_pass(gate);
	while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != t)
		nap_ms(2);
	check_dir(t->dirs);
	check_own(t->files);
	check_lock(t->files);
	char word = t->files;
	MUST(write(WORD, &word, 1) == 1); // a description that all tables have
	if (t->make) {
		__atomic_store_n(&turn, t->make, __ATOMIC_SEQ_CST);
		pthread_join(t->make->thread, NULL);
	}
	return NULL;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	umask(022);
	MUST(chdir("/") == 0);
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, words) == 0 && dup2(words[1], WORD) == WORD);
	open_own(0);
	// A thread made by another has its table and directories, and leaves some.
	struct task files_dir = {.leave = CLONE_FS, .files = 1, .dirs = 3};
	struct task files = {.leave = CLONE_FILES, .files = 1, .dirs = 0, .make = &files_dir};
	struct task both_same = {.files = 2, .dirs = 1};
	struct task both = {.leave = CLONE_FILES | CLONE_FS, .files = 2, .dirs = 1, .make = &both_same};
	struct task dirs = {.leave = CLONE_FS, .files = 0, .dirs = 2};
	struct task *all[] = {&files, &both, &dirs};
	for (int i = 0; i < 3; i++)
		all[i]->thread = thread(run, all[i]);
	gate_wait(gate, 5);
	ready_wait();
	check_dir(0);
	check_own(0);
	for (int i = 0; i < 3; i++) {
		char word;
		__atomic_store_n(&turn, all[i], __ATOMIC_SEQ_CST);
		pthread_join(all[i]->thread, NULL);
		for (int n = all[i]->make ? 2 : 1; n > 0; n--)
			MUST(read(words[0], &word, 1) == 1 && word == all[i]->files);
	}
	check_lock(0);
	ok();
}
