// busy MIB THREADS PROCESSES CONNECTIONS: for measuring. Holds memory, threads,
// processes, and connections to a client of its own, looks at the clock all the
// time, and says the longest gap.
#include "tcp.h"

static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER;
static void *idle(void *unused UNUSED) {
	pthread_mutex_lock(&never);
	return NULL;
}

static struct sockaddr_in door_name;

// client makes n connections, and holds them.
static void client(int n, volatile int *stop) {
	for (int i = 0; i < n; i++) {
		int fd = sock(AF_INET);
		MUST(connect(fd, (struct sockaddr *)&door_name, sizeof door_name) == 0);
	}
	while (!*stop)
		syscall(SYS_futex, stop, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0);
	_exit(0);
}

// serve has a client make n connections, and accepts them.
static void serve(int n, volatile int *stop) {
	struct rlimit l;
	MUST(getrlimit(RLIMIT_NOFILE, &l) == 0);
	l.rlim_cur = l.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &l) == 0);
	int door = sock(AF_INET);
	listen4(door, 0, 128);
	socklen_t size = sizeof door_name;
	MUST(getsockname(door, (struct sockaddr *)&door_name, &size) == 0);
	if (fork() == 0) {
		close(door);
		client(n, stop);
	}
	for (int i = 0; i < n; i++)
		MUST(accept(door, NULL, NULL) >= 0);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	size_t size = (argc > 3 ? atol(argv[3]) : 1) * MiB;
	int threads = argc > 4 ? atoi(argv[4]) : 0, processes = argc > 5 ? atoi(argv[5]) : 0;
	int connections = argc > 6 ? atoi(argv[6]) : 0;
	volatile int *stop = new_gate();
	char *m = map(size, RW, ANON);
	for (int i = 0; i < processes; i++)
		if (fork() == 0) {
			while (!*stop)
				syscall(SYS_futex, stop, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0);
			_exit(0);
		}
	if (connections) {
		serve(connections, stop);
		processes++;
	}
	fill(m, size, 1);
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * KiB);
	pthread_mutex_lock(&never);
	for (int i = 0; i < threads; i++) {
		pthread_t t;
		MUST(pthread_create(&t, &small, idle, NULL) == 0);
	}
	ready();
	double last = now(), gap = 0, look = last;
	while (1) {
		double t = now();
		if (t - last > gap)
			gap = t - last;
		last = t;
		if (t - look > 0.05) {
			look = t;
			if (went())
				break;
			last = now(); // what the look took does not count
		}
	}
	holds("memory", m, size, 1);
	*stop = 1;
	syscall(SYS_futex, stop, 1 /* FUTEX_WAKE */, 1 << 30, NULL, NULL, 0);
	for (int i = 0; i < processes; i++)
		waitpid(-1, NULL, 0);
	char line[64];
	snprintf(line, sizeof line, "gap %.6f", gap);
	say(line);
	ok();
}
