// virtual: under run --virtualize with virtual.rules, every process and thread
// sees the host of the rules, before a snapshot and after.
// With an argument, only the host's name is looked at: "alive", before and after;
// "dead", but the answerer is killed before the go signal; "late", only after.
#include "prog.h"
#include <arpa/inet.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>

#define HOST "old.example.org"
#define MACHINE "0123456789abcdef0123456789abcdef\n"
#define BOOT "01234567-89ab-cdef-0123-456789abcdef\n"

static volatile int *gate;
static int kept; // /etc/machine-id, opened before the snapshot and read as far as the 5th byte

static void reads(int fd, const char *name, const char *want) {
	char buf[200] = {};
	CHECK(fd >= 0, "open %s", name);
	ssize_t n = read(fd, buf, sizeof buf - 1);
	CHECK(n == (ssize_t)strlen(want) && !strcmp(buf, want), "%s is %s, want %s", name, buf, want);
	CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY, "%s can be written to", name);
	close(fd);
}
static void holds_content(const char *name, const char *want) { reads(open(name, O_RDONLY), name, want); }

static void host(void) {
	struct utsname u, was;
	char name[100], release[100] = {};
	memset(&was, 'x', sizeof was);
	u = was;
	MUST(uname(&u) == 0 && !strcmp(u.nodename, HOST));
	MUST(!strcmp(u.sysname, "Linux") && !strcmp(u.machine, "x86_64"));
	int f = open("/proc/sys/kernel/osrelease", O_RDONLY | O_CLOEXEC);
	MUST(read(f, release, sizeof release - 1) > 0);
	close(f);
	strtok(release, "\n");
	CHECK(!strcmp(u.release, release), "release %s", u.release);
	MUST(gethostname(name, sizeof name) == 0 && !strcmp(name, HOST));
	char *page = map(PAGE, PROT_READ, ANON);
	MUST(syscall(SYS_uname, page) == -1 && errno == EFAULT && page[0] == 0);
	munmap(page, PAGE);
	MUST(syscall(SYS_uname, (void *)8) == -1 && errno == EFAULT);
	page = map(2 * PAGE, RW, ANON); // the name lies across the end of what may be written to
	mprotect(page + PAGE, PAGE, PROT_READ);
	MUST(syscall(SYS_uname, page + PAGE - 100) == -1 && errno == EFAULT);
	munmap(page, 2 * PAGE);
}

static void files(void) {
	char buf[100];
	holds_content("/etc/machine-id", MACHINE);
	holds_content("/var/lib/dbus/machine-id", MACHINE);
	holds_content("/etc/../etc//machine-id", MACHINE);
	holds_content("/proc/self/root/etc/machine-id", MACHINE);
	holds_content("/proc/sys/kernel/random/boot_id", BOOT);
	holds_content("/etc/hostname", "Linux\n");
	MUST(gethostid() == 0x12345678);
	MUST(open("/etc/supervise-none", O_RDONLY) == -1 && errno == ENOENT);
	int etc = open("/etc", O_RDONLY | O_DIRECTORY);
	MUST(etc >= 0);
	reads(openat(etc, "machine-id", O_RDONLY), "machine-id in /etc", MACHINE);
	reads(openat(etc, "../etc/machine-id", O_RDONLY), "../etc/machine-id", MACHINE);
	MUST(openat(etc, "supervise-none", O_RDONLY) == -1 && errno == ENOENT);
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
	reads(syscall(SYS_openat2, etc, "machine-id", &how, sizeof how), "machine-id beneath /etc", MACHINE);
	close(etc);
	reads(syscall(SYS_open, "/etc/machine-id", O_RDONLY), "open", MACHINE);
	int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
	MUST(fcntl(fd, F_GETFD) == FD_CLOEXEC && write(fd, "x", 1) == -1 && errno == EBADF);
	close(fd);
	// None of theirs.
	MUST(open("/etc/machine-id", O_RDONLY | O_DIRECTORY) == -1 && (errno == ENOTDIR || errno == ENOENT));
	MUST(open((char *)8, O_RDONLY) == -1 && errno == EFAULT);
	MUST((fd = open("/proc/self/comm", O_RDONLY)) >= 0 && read(fd, buf, sizeof buf) == 8 && !memcmp(buf, "virtual\n", 8));
	close(fd);
	char dir[] = "/tmp/virtual.XXXXXX", name[100];
	MUST(mkdtemp(dir));
	snprintf(name, sizeof name, "%s/machine-id", dir); // of the same name, but another
	MUST((fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0 && write(fd, "other", 5) == 5);
	close(fd);
	holds_content(name, "other");
	unlink(name);
	MUST(symlink("/etc/machine-id", name) == 0);
	if (access("/etc/machine-id", F_OK) == 0)
		holds_content(name, MACHINE);
	unlink(name);
	rmdir(dir);
}

// talk connects a client to a server through the address that the program uses.
static void talk(int family, const struct sockaddr *to, socklen_t size, int type) {
	struct sockaddr_storage got;
	struct sockaddr_storage mine = {};
	socklen_t n = sizeof got;
	char buf[8];
	memcpy(&mine, to, size);
	int server = socket(family, type, 0), client = socket(family, type, 0), conn = server;
	MUST(bind(server, to, size) == 0 && getsockname(server, (void *)&mine, &size) == 0);
	CHECK(!memcmp((char *)&mine + 4, (char *)to + 4, family == AF_INET ? 4 : 20), "getsockname tells another address");
	if ((type & 0xf) == SOCK_STREAM)
		MUST(listen(server, 1) == 0);
	int e = connect(client, (void *)&mine, size);
	MUST(e == 0 || (type & SOCK_NONBLOCK && errno == EINPROGRESS));
	MUST(getpeername(client, (void *)&got, &n) == 0 && n == size && !memcmp(&got, &mine, n));
	n = 6;
	MUST(getpeername(client, (void *)&got, &n) == 0 && n == size);
	if ((type & 0xf) == SOCK_STREAM)
		MUST((conn = accept(server, NULL, NULL)) >= 0);
	struct timeval t;
	n = sizeof t;
	MUST(getsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &t, &n) == 0 && t.tv_sec == 0 && t.tv_usec == 0);
	MUST(send(client, "hello", 5, 0) == 5 && recv(conn, buf, sizeof buf, 0) == 5 && !memcmp(buf, "hello", 5));
	MUST(connect(client, (void *)8, 16) == -1 && errno == EFAULT);
	close(client);
	if (conn != server)
		close(conn);
	close(server);
}

static void addresses(void) {
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};
	inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr);
	talk(AF_INET, (void *)&v4, sizeof v4, SOCK_STREAM);
	talk(AF_INET, (void *)&v4, sizeof v4, SOCK_STREAM | SOCK_NONBLOCK);
	talk(AF_INET, (void *)&v4, sizeof v4, SOCK_DGRAM);
	int probe = socket(AF_INET6, SOCK_STREAM, 0);
	v6.sin6_addr = in6addr_loopback;
	if (probe >= 0 && bind(probe, (void *)&v6, sizeof v6) == 0) {
		inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
		talk(AF_INET6, (void *)&v6, sizeof v6, SOCK_STREAM);
		inet_pton(AF_INET6, "::ffff:192.0.2.1", &v6.sin6_addr);
		talk(AF_INET6, (void *)&v6, sizeof v6, SOCK_STREAM);
	}
	close(probe);
	v4.sin_port = htons(1); // nobody listens: refused, at once and when it waits
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(fd, (void *)&v4, sizeof v4) == -1 && errno == ECONNREFUSED);
	close(fd);
	if (getuid() != 0) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		int e = bind(fd, (void *)&v4, sizeof v4), was = errno;
		inet_pton(AF_INET, "127.0.0.1", &v4.sin_addr);
		int real = bind(fd, (void *)&v4, sizeof v4);
		MUST(e == real || (e == 0 && errno == EINVAL));
		MUST(e == 0 || was == EACCES);
		close(fd);
	}
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	MUST(connect(fd, (void *)&un, sizeof un) == -1 && errno == ENOENT);
	struct ifreq r = {.ifr_name = "lo"};
	MUST(ioctl(fd, SIOCGIFHWADDR, &r) == 0 && !memcmp(r.ifr_hwaddr.sa_data, "\x02\x00\x5e\x00\x53\x01", 6));
	MUST(ioctl(fd, SIOCGIFFLAGS, &r) == 0);
	strcpy(r.ifr_name, "none");
	MUST(ioctl(fd, SIOCGIFHWADDR, &r) == -1 && errno == ENODEV);
	close(fd);
	MUST(ioctl(0xfff, SIOCGIFHWADDR, &r) == -1 && errno == EBADF);
}

// slow connects to a server that has no room for more: the program waits in its
// own call, which a signal interrupts and which goes on when it is made again.
static void interrupt(int sig UNUSED) {}
static void slow(void) {
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct sigaction a = {.sa_handler = interrupt};
	struct itimerval soon = {{0, 20000}, {0, 20000}}, none = {};
	socklen_t n = sizeof to;
	int clients[2];
	inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
	int server = socket(AF_INET, SOCK_STREAM, 0);
	MUST(bind(server, (void *)&to, n) == 0 && listen(server, 0) == 0 && getsockname(server, (void *)&to, &n) == 0);
	for (int i = 0; i < 2; i++)
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(clients[0], (void *)&to, n) == 0);
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	int e = connect(clients[1], (void *)&to, n);
	CHECK(e == -1 && errno == EINTR, "connect to a full server gives %d", e);
	setitimer(ITIMER_REAL, &none, NULL);
	int conn = accept(server, NULL, NULL);
	MUST(conn >= 0 && connect(clients[1], (void *)&to, n) == 0);
	close(conn);
	MUST((conn = accept(server, NULL, NULL)) >= 0);
	close(conn);
	close(clients[0]);
	close(clients[1]);
	close(server);
}

static void sees(void) {
	host();
	files();
	addresses();
}

// storm calls while signals arrive, of which none may be seen.
static volatile int signals;
static void count(int sig UNUSED) { signals++; }
static void storm(void) {
	struct sigaction a = {.sa_handler = count, .sa_flags = SA_RESTART};
	struct itimerval every = {{0, 500}, {0, 500}}, none = {};
	struct utsname u;
	expect_eintr = 1;
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 300 || signals < 5; i++) {
		MUST(uname(&u) == 0 && !strcmp(u.nodename, HOST));
		int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
		MUST(fd >= 0);
		close(fd);
	}
	setitimer(ITIMER_REAL, &none, NULL);
	expect_eintr = 0;
}

static void *other(void *unused UNUSED) {
	sees();
	gate_pass(gate);
	wait_go();
	sees();
	gate_pass(gate);
	return NULL;
}
static int grandchild(void *unused UNUSED) {
	thread(other, NULL);
	other(NULL);
	gate_wait(gate, 6);
	return 0;
}
static int orphaned(void *unused UNUSED) {
	if (fork() == 0) {
		setsid();
		other(NULL);
		_exit(0);
	}
	return 0;
}
static int fresh(void *unused UNUSED) {
	sees();
	storm();
	slow();
	return 0;
}
// busy calls all the time: a snapshot comes in the middle of it.
static void *busy(void *unused UNUSED) {
	while (!went())
		host();
	return NULL;
}

// hostname_only is for rules without files: what dies with the answerer are calls
// that it says nothing with.
static void hostname_only(const char *how) {
	struct utsname u;
	int dead = !strcmp(how, "dead");
	MUST(!strcmp(how, "late") || (uname(&u) == 0 && !strcmp(u.nodename, HOST)));
	ready_wait();
	for (int i = 0; i < 3; i++) {
		int e = uname(&u);
		if (dead)
			CHECK(e == -1 && errno == ENOSYS, "uname gives %d", e);
		else
			CHECK(e == 0 && !strcmp(u.nodename, HOST), "uname gives %d, %s", e, u.nodename);
	}
	ok();
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	if (argc > 3)
		hostname_only(argv[3]);
	sees();
	storm();
	slow();
	MUST((kept = open("/etc/machine-id", O_RDONLY | O_CLOEXEC)) >= 0 && lseek(kept, 5, SEEK_SET) == 5);
	gate = new_gate();
	pid_t pid = child(grandchild, NULL);
	must_exit(child(orphaned, NULL), 0);
	gate_wait(gate, 3);
	pthread_t t = thread(busy, NULL);
	ready_wait();
	pthread_join(t, NULL);
	sees();
	reads(kept, "a file kept open", &MACHINE[5]);
	must_exit(pid, 0);
	must_exit(child(fresh, NULL), 0);
	ok();
}
