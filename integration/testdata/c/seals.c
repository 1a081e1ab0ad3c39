// seals: memfds with each set of seals, and with other modes, keep them.
#include "prog.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8
#endif
static const int sets[] = {
	0, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE,
	F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, F_SEAL_WRITE | F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL,
	F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
};
enum { N = sizeof sets / sizeof sets[0] };

static int fds[N + 2];
static char *views[N + 2];
static int seals[N + 2], modes[N + 2];

static int mode(int fd) {
	struct stat st;
	MUST(fstat(fd, &st) == 0);
	return st.st_mode & 07777;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	for (int i = 0; i < N + 2; i++) {
		fds[i] = memfd_create("sealed", MFD_CLOEXEC | (i >= N ? MFD_NOEXEC_SEAL : MFD_ALLOW_SEALING));
		if (fds[i] < 0) {
			MUST(i >= N && errno == EINVAL);
			continue;
		}
		MUST(ftruncate(fds[i], 2 * PAGE) == 0);
		int set = i < N ? sets[i] : i == N ? 0 : F_SEAL_SEAL | F_SEAL_WRITE;
		char *m = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fds[i], 0);
		MUST(m != MAP_FAILED);
		fill(m, PAGE, i);
		if (set & F_SEAL_WRITE) {
			munmap(m, 2 * PAGE);
			m = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fds[i], 0);
		}
		views[i] = m;
		MUST(i != 2 || fchmod(fds[i], 0640) == 0);
		MUST(fcntl(fds[i], F_ADD_SEALS, set) == 0 || set == 0);
		seals[i] = fcntl(fds[i], F_GET_SEALS), modes[i] = mode(fds[i]);
		MUST((seals[i] & set) == set);
	}
	ready_wait();
	for (int i = 0; i < N + 2; i++) {
		if (fds[i] < 0)
			continue;
		int got = fcntl(fds[i], F_GET_SEALS);
		CHECK(got == seals[i], "memfd %d: seals %#x, want %#x", i, got, seals[i]);
		CHECK(mode(fds[i]) == modes[i], "memfd %d: mode %o, want %o", i, mode(fds[i]), modes[i]);
		holds("sealed", views[i], PAGE, i);
		is_zero("hole", views[i] + PAGE, PAGE);
		int write_ok = pwrite(fds[i], "W", 1, PAGE) == 1;
		CHECK(write_ok == !(got & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)), "memfd %d: write %d with seals %#x", i, write_ok, got);
		if (!(got & F_SEAL_WRITE))
			views[i][PAGE + 1] = 'V'; // a mapping from before F_SEAL_FUTURE_WRITE may be written to
	}
	ok();
}
