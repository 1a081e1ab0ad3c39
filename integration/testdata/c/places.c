// places: directories that were removed and are still open, and O_PATH
// descriptors of what has no name: files, directories, pipes, sockets, fifos.
#include "prog.h"
#include <sys/socket.h>
#include <sys/un.h>

static int gone, again, place_gone, other_gone, shared_gone, place_file, place_memfd, place_pipe, place_socket, place_fifo, place_dev, place_bound;
static volatile int *gate;

static int fd_of(int fd) {
	MUST(fd >= 0);
	return fd;
}
static int path_of(int fd) { // what fd is, as a place
	char name[64];
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	return fd_of(open(name, O_PATH | O_CLOEXEC));
}
static ino_t ino(int fd) {
	struct stat st;
	MUST(fstat(fd, &st) == 0);
	return st.st_ino;
}
static void is_removed(int fd, mode_t mode) {
	struct stat st;
	MUST(fstat(fd, &st) == 0);
	CHECK(S_ISDIR(st.st_mode) && st.st_nlink == 0 && (st.st_mode & 07777) == mode && st.st_uid == geteuid(), "fd %d: links %ld mode %o", fd, (long)st.st_nlink, st.st_mode);
	MUST(openat(fd, "x", O_CREAT | O_WRONLY, 0600) == -1 && errno == ENOENT);
}
static int shares(void *unused UNUSED) {
	gate_pass(gate);
	wait_go();
	is_removed(shared_gone, 0711);
	MUST(lseek(shared_gone, 0, SEEK_CUR) == 0);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	MUST(!mkdir("gone", 0750) && !mkdir("shared", 0711) && !mkdir("other", 0700));
	gone = fd_of(open("gone", O_RDONLY | O_DIRECTORY)), again = fd_of(open("gone", O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC));
	place_gone = fd_of(open("gone", O_PATH | O_DIRECTORY)), other_gone = fd_of(open("other", O_PATH)), shared_gone = fd_of(open("shared", O_RDONLY | O_DIRECTORY));
	MUST(!rmdir("gone") && !rmdir("shared") && !rmdir("other") && !mkdir("gone", 0700)); // another one of the same name

	int file = fd_of(open("file", O_RDWR | O_CREAT, 0600)), mem = fd_of(memfd_create("mem", 0));
	MUST(write(file, "content", 7) == 7 && write(mem, "memory", 6) == 6);
	place_file = fd_of(open("file", O_PATH)), place_memfd = path_of(mem);
	MUST(!unlink("file"));
	close(file), close(mem); // only the places are left

	int p[2], s[2], l = fd_of(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(!pipe(p) && !socketpair(AF_UNIX, SOCK_STREAM, 0, s) && !mkfifo("fifo", 0600));
	place_pipe = path_of(p[1]), place_socket = path_of(s[0]), place_fifo = fd_of(open("fifo", O_PATH)), place_dev = fd_of(open("/dev/null", O_PATH));
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "bound"};
	MUST(!bind(l, (void *)&a, sizeof a));
	place_bound = fd_of(open("bound", O_PATH));
	pid_t c = child(shares, NULL);
	gate_wait(gate, 1);
	ready_wait();

	is_removed(gone, 0750), is_removed(again, 0750), is_removed(place_gone, 0750), is_removed(other_gone, 0700), is_removed(shared_gone, 0711);
	MUST(ino(gone) == ino(again) && ino(gone) == ino(place_gone) && ino(gone) != ino(shared_gone));
	MUST(fcntl(again, F_GETFL) & O_NONBLOCK && fcntl(again, F_GETFD) == FD_CLOEXEC && fcntl(place_gone, F_GETFL) & O_PATH);
	char name[64], buf[10] = {0};
	snprintf(name, sizeof name, "/proc/self/fd/%d", place_file);
	int f = open(name, O_RDWR);
	MUST(read(f, buf, 10) == 7 && !memcmp(buf, "content", 7) && read(place_file, buf, 1) == -1 && errno == EBADF);
	snprintf(name, sizeof name, "/proc/self/fd/%d", place_memfd);
	f = open(name, O_RDONLY);
	MUST(read(f, buf, 10) == 6 && !memcmp(buf, "memory", 6));
	MUST(ino(place_pipe) == ino(p[0]) && ino(place_socket) == ino(s[0]) && fcntl(place_socket, F_GETFL) & O_PATH && fcntl(place_pipe, F_GETFD) == FD_CLOEXEC);
	struct stat st;
	MUST(!fstat(place_fifo, &st) && S_ISFIFO(st.st_mode) && !fstat(place_dev, &st) && S_ISCHR(st.st_mode) && !fstat(place_bound, &st) && S_ISSOCK(st.st_mode));
	must_exit(c, 0);
	ok();
}
