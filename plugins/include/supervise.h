// supervise.h: the control protocol of supervise (docs/protocol.md) for programs
// in C. There is nothing to link; copy it where you need it.
//
//	int s = supervise_open();
//	if (s >= 0 && supervise_checkpoint(s, "before step 2", &generation) == SUPERVISE_RESTARTED)
//		open_everything_again();
//
// A connection is for one thread at a time. It survives snapshots and restarts.
#ifndef SUPERVISE_H
#define SUPERVISE_H
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SUPERVISE_FAILED = -1, SUPERVISE_RESUMED = 1, SUPERVISE_RESTARTED = 2 };

// supervise_open connects to the supervisor of this program, or gives -1: errno
// is ENOTCONN when it runs under none.
static inline int supervise_open(void) {
	struct sockaddr_un a;
	const char *path = getenv("SUPERVISE_SOCKET");
	if (!path || strlen(path) >= sizeof a.sun_path) {
		errno = ENOTCONN;
		return -1;
	}
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	strcpy(a.sun_path, path);
	for (int tries = 0;; tries++) { // another supervisor may be about to take the path over
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
			return fd;
		int e = errno;
		close(fd);
		errno = e;
		if ((e != ECONNREFUSED && e != ENOENT) || tries == 40)
			return -1;
		struct timespec moment = {0, 50 * 1000 * 1000};
		nanosleep(&moment, NULL);
	}
}

// supervise_line reads one line without its end. It gives its length, or -1.
static inline long supervise_line(int fd, char *line, size_t size) {
	for (size_t n = 0; n + 1 < size;) {
		ssize_t got = read(fd, line + n, 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			if (got == 0)
				errno = ECONNRESET;
			return -1;
		}
		if (line[n] == '\n') {
			line[n] = 0;
			return (long)n;
		}
		n++;
	}
	errno = EMSGSIZE;
	return -1;
}

// supervise_ask makes a request, given by the fields of its line without id, as
// in "\"request\":\"status\"", and gives 0 when the answer is a result, 1 when it
// is an error, and -1 when there is none. Events are passed over.
static inline int supervise_ask(int fd, const char *fields, char *answer, size_t size) {
	static const char begin[] = "{\"id\":1,";
	size_t all = strlen(fields) + sizeof begin + 2, sent = 0;
	char *line = (char *)malloc(all);
	if (!line)
		return -1;
	all = (size_t)snprintf(line, all, "%s%s}\n", begin, fields);
	while (sent < all) {
		ssize_t n = send(fd, line + sent, all - sent, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR) {
			free(line);
			return -1;
		}
		sent += n > 0 ? (size_t)n : 0;
	}
	free(line);
	do {
		if (supervise_line(fd, answer, size) < 0)
			return -1;
	} while (strncmp(answer, "{\"event\":", 9) == 0);
	return strncmp(answer, "{\"id\":1,\"result\":", 17) == 0 ? 0 : 1;
}

// supervise_quote writes s as a JSON string. It gives -1 when there is no room.
static inline int supervise_quote(char *to, size_t size, const char *s) {
	size_t n = 0;
	for (const char *c = s; n + 9 < size; c++) {
		if (c == s)
			to[n++] = '"';
		if (*c == 0) {
			strcpy(to + n, "\"");
			return 0;
		}
		if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
			n += (size_t)sprintf(to + n, "\\u%04x", (unsigned char)*c);
		else
			to[n++] = *c;
	}
	errno = EMSGSIZE;
	return -1;
}

// supervise_checkpoint takes a snapshot of the tree. It gives SUPERVISE_RESUMED in
// the original and SUPERVISE_RESTARTED in every copy restarted from it. name and
// generation may be NULL.
static inline int supervise_checkpoint(int fd, const char *name, int *generation) {
	char fields[2048] = "\"request\":\"checkpoint\"", answer[8192];
	size_t n = strlen(fields);
	if (name) {
		n += (size_t)sprintf(fields + n, ",\"name\":");
		if (supervise_quote(fields + n, sizeof fields - n, name) < 0)
			return SUPERVISE_FAILED;
	}
	if (supervise_ask(fd, fields, answer, sizeof answer) != 0)
		return SUPERVISE_FAILED;
	const char *g = strstr(answer, "\"generation\":");
	if (generation && g)
		*generation = atoi(g + 13);
	return strstr(answer, "\"outcome\":\"restarted\"") ? SUPERVISE_RESTARTED : SUPERVISE_RESUMED;
}

// supervise_hold holds snapshots back, for at most so many milliseconds, until
// supervise_release. Both give 0 or -1.
static inline int supervise_hold(int fd, long milliseconds) {
	char fields[128], answer[1024];
	sprintf(fields, "\"request\":\"hold\",\"timeout_ms\":%ld", milliseconds);
	return supervise_ask(fd, fields, answer, sizeof answer) ? -1 : 0;
}

static inline int supervise_release(int fd) {
	char answer[1024];
	return supervise_ask(fd, "\"request\":\"release\"", answer, sizeof answer) ? -1 : 0;
}

// supervise_exclude keeps memory out of snapshots: it comes back as zeros.
static inline int supervise_exclude(int fd, const void *at, size_t size) {
	char fields[128], answer[1024];
	sprintf(fields, "\"request\":\"exclude\",\"address\":%lu,\"length\":%lu", (unsigned long)at, (unsigned long)size);
	return supervise_ask(fd, fields, answer, sizeof answer) ? -1 : 0;
}
#endif
