// ptys: a terminal made inside the tree, with modes and size, whose slave is
// the controlling terminal of a child.
#include "prog.h"
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;
static char name[64];
static volatile int *gate;

static volatile sig_atomic_t resized;
static void on_winch(int sig UNUSED) { resized++; }
static int session(void *unused UNUSED) {
	MUST(setsid() == getpid());
	int tty = open(name, O_RDWR); // becomes the controlling terminal
	MUST(tty >= 0 && tcgetsid(tty) == getpid());
	close(master);
	pid_t bg = fork();
	if (bg == 0) {
		setpgid(0, 0);
		wait_go();
		_exit(0);
	}
	setpgid(bg, bg);
	MUST(tcsetpgrp(tty, bg) == 0); // the other group has the terminal
	gate_pass(gate);
	wait_go();
	CHECK(tcgetsid(tty) == getpid(), "session of the terminal is %d, want %d", tcgetsid(tty), getpid());
	CHECK(tcgetpgrp(tty) == bg, "foreground group is %d, want %d", tcgetpgrp(tty), bg);
	int ctty = open("/dev/tty", O_RDWR);
	CHECK(ctty >= 0, "no controlling terminal");
	signal(SIGTTOU, SIG_IGN);
	struct sigaction sa = {.sa_handler = on_winch, .sa_flags = SA_RESTART};
	sigaction(SIGWINCH, &sa, NULL);
	expect_eintr = 1;
	MUST(tcsetpgrp(tty, getpgrp()) == 0);
	struct winsize w = {12, 34, 0, 0};
	MUST(ioctl(ctty, TIOCSWINSZ, &w) == 0);
	nap_ms(1);
	CHECK(resized == 1, "SIGWINCH came %d times", resized);
	MUST(write(tty, "from child\n", 11) == 11);
	must_exit(bg, 0);
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	gate = new_gate();
	master = posix_openpt(O_RDWR | O_NOCTTY);
	MUST(grantpt(master) == 0 && unlockpt(master) == 0 && ptsname_r(master, name, sizeof name) == 0);
	slave = open(name, O_RDWR | O_NOCTTY);
	int second = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK), locked = posix_openpt(O_RDWR | O_NOCTTY); // no slave yet
	MUST(slave >= 0 && second >= 0 && unlockpt(second) == 0);
	struct termios raw, t, is;
	MUST(tcgetattr(slave, &raw) == 0);
	cfmakeraw(&raw);
	raw.c_cc[VMIN] = 5, raw.c_cc[VTIME] = 3, raw.c_cc[VINTR] = 'k', raw.c_iflag |= IUTF8;
	MUST(tcsetattr(slave, TCSANOW, &raw) == 0 && tcgetattr(slave, &t) == 0);
	struct winsize w = {33, 77, 330, 770}, w2;
	MUST(ioctl(master, TIOCSWINSZ, &w) == 0);
	pid_t c = child(session, NULL);
	gate_wait(gate, 1);
	ready_wait();
	MUST(tcgetattr(slave, &is) == 0);
	CHECK(!memcmp(&t, &is, sizeof t), "modes %#x %#x %#x %#x, were %#x %#x %#x %#x", is.c_iflag, is.c_oflag, is.c_cflag, is.c_lflag, t.c_iflag,
	      t.c_oflag, t.c_cflag, t.c_lflag);
	MUST(ioctl(slave, TIOCGWINSZ, &w2) == 0);
	CHECK((w2.ws_row == 33 && w2.ws_col == 77) || (w2.ws_row == 12 && w2.ws_col == 34), "size %d x %d", w2.ws_row, w2.ws_col);
	char buf[64] = {0}, again[64];
	MUST(ptsname_r(master, again, sizeof again) == 0);
	CHECK(!strcmp(name, again), "slave is %s, was %s", again, name);
	for (size_t n = 0; n < 11;) {
		ssize_t got = read(master, buf + n, 11 - n);
		MUST(got > 0);
		n += got;
	}
	CHECK(!strcmp(buf, "from child\n"), "read %s", buf); // raw: no CR
	must_exit(c, 0);
	MUST(write(master, "12345", 5) == 5 && read(slave, buf, 5) == 5 && !memcmp(buf, "12345", 5));
	int lock = 0;
	MUST(ioctl(locked, TIOCGPTLCK, &lock) == 0 && lock);
	MUST(ptsname_r(second, name, sizeof name) == 0 && open(name, O_RDWR | O_NOCTTY) >= 0);
	ok();
}
