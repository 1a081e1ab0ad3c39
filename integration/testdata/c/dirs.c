// dirs: working directories that were removed, one with its parent and one that
// somebody has made again; with "chroot", a root directory that was changed.
#include "prog.h"

static volatile int *gate;
static int removed(void *name) {
	const char *dir = name;
	MUST(mkdir(dir, 0700) == 0 && chdir(dir) == 0 && chmod(".", 0750) == 0);
	char path[200];
	snprintf(path, sizeof path, "../%s", dir);
	MUST(rmdir(path) == 0);
	gate_pass(gate);
	wait_go();
	char cwd[300], link[300];
	struct stat st;
	MUST(syscall(SYS_getcwd, cwd, sizeof cwd) == -1 && errno == ENOENT);
	MUST(stat(".", &st) == 0);
	CHECK(st.st_nlink == 0 && (st.st_mode & 07777) == 0750 && st.st_uid == getuid(), "cwd: links %ld mode %o uid %d", (long)st.st_nlink, st.st_mode, st.st_uid);
	MUST(open("x", O_CREAT | O_WRONLY, 0600) == -1 && errno == ENOENT);
	ssize_t n = readlink("/proc/self/cwd", link, sizeof link - 1);
	MUST(n > 0);
	link[n] = 0;
	CHECK(strstr(link, " (deleted)"), "cwd is %s", link);
	return 0;
}
static int jailed(void *unused UNUSED) {
	MUST(mkdir("jail", 0755) == 0 && mkdir("jail/in", 0755) == 0 && mkdir("jail/proc", 0755) == 0);
	int fd = open("jail/in/file", O_CREAT | O_RDWR, 0600);
	MUST(write(fd, "inside", 6) == 6);
	MUST(chroot("jail") == 0 && chdir("/in") == 0);
	int own = open("file", O_RDONLY);
	MUST(own >= 0);
	gate_pass(gate);
	while (*gate != 100) // the go file is outside
		nap_ms(20);
	char buf[20], cwd[100];
	MUST(getcwd(cwd, sizeof cwd) && !strcmp(cwd, "/in"));
	MUST(access("/in/file", F_OK) == 0 && access("/jail", F_OK) == -1 && access("/usr", F_OK) == -1);
	MUST(read(own, buf, sizeof buf) == 6 && !memcmp(buf, "inside", 6));
	_exit(chdir("..") == 0 && access("../in", F_OK) == 0 ? 9 : 1);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	if (argc > 3) {
		pid_t c = child(jailed, NULL);
		gate_wait(gate, 1);
		ready_wait();
		*gate = 100;
		must_exit(c, 9);
		ok();
	}
	pid_t a = child(removed, "gone"), b = child(removed, "again");
	gate_wait(gate, 2);
	MUST(mkdir("again", 0700) == 0);
	ready_wait();
	must_exit(a, 0), must_exit(b, 0);
	struct stat st;
	MUST(stat("again", &st) == 0 && (st.st_mode & 07777) == 0700);
	MUST(access("gone", F_OK) == -1);
	ok();
}
