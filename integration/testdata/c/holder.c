// holder: stands in for the shell or service manager that starts a tree.
//
//   holder [-s] [-t] CMD ARG...
//
// It is a child subreaper, so that everything the tree ever forks stays below
// it. It tells on fd 4, a line each: "start PID" for CMD, and "exit PID STATUS"
// for every child that it reaps. When fd 3 reaches end of file, which happens
// at the latest when the tests die, it kills everything below it and exits.
//   -s  CMD leads a session of its own
//   -t  the holder leads a session with the terminal on fd 0, and CMD is its
//       foreground process group, as a shell would have it
// Without either, CMD leads a process group in the holder's session.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIFELINE = 3, REPORT = 4 };

static void reap(void) {
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		dprintf(REPORT, "exit %d %d\n", pid, status);
}

// killAll kills children until there are none. Grandchildren become children.
static void killAll(void) {
	char path[64], buf[65536];
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t n = read(fd, buf, sizeof buf - 1);
		close(fd);
		buf[n > 0 ? n : 0] = 0;
		for (char *p = strtok(buf, " "); p; p = strtok(NULL, " "))
			kill(atoi(p), SIGKILL);
		int status;
		pid_t pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno == ECHILD)
			return;
		dprintf(REPORT, "exit %d %d\n", pid, status);
	}
}

int main(int argc, char **argv) {
	int own = 0, tty = 0, at = 1;
	for (; at < argc && argv[at][0] == '-'; at++) {
		own |= !strcmp(argv[at], "-s");
		tty |= !strcmp(argv[at], "-t");
	}
	fcntl(LIFELINE, F_SETFD, FD_CLOEXEC);
	fcntl(REPORT, F_SETFD, FD_CLOEXEC);
	close_range(REPORT + 1, ~0u, 0); // what whoever runs the tests has leaked
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	setsid();
	if (tty && ioctl(0, TIOCSCTTY, 0))
		return perror("TIOCSCTTY"), 126;
	signal(SIGTTOU, SIG_IGN);

	sigset_t chld, old;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &old);
	int sfd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);

	pid_t pid = fork();
	if (pid == 0) {
		if (own)
			setsid();
		else
			setpgid(0, 0);
		if (tty)
			tcsetpgrp(0, getpid());
		signal(SIGPIPE, SIG_DFL);
		signal(SIGTTOU, SIG_DFL);
		sigprocmask(SIG_SETMASK, &old, NULL);
		execv(argv[at], argv + at);
		perror(argv[at]);
		_exit(127);
	}
	dprintf(REPORT, "start %d\n", pid);
	for (;;) {
		struct pollfd p[] = {{LIFELINE, POLLIN, 0}, {sfd, POLLIN, 0}};
		poll(p, 2, -1);
		struct signalfd_siginfo info;
		while (read(sfd, &info, sizeof info) > 0)
			;
		reap();
		if (p[0].revents) {
			killAll();
			return 0;
		}
	}
}
