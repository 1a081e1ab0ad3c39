// tun: a tun interface with address, route and traffic, and a tap interface that
// stays, with two queues, one of them detached. Only root has them.
#include "prog.h"
#include <arpa/inet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static char tun_name[IFNAMSIZ], tap_name[IFNAMSIZ];
static int tun, udp, net;

static int open_tun(const char *name, int flags) {
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq r = {.ifr_flags = flags};
	strcpy(r.ifr_name, name);
	CHECK(fd >= 0 && ioctl(fd, TUNSETIFF, &r) == 0, "make %s", name);
	return fd;
}

static int flags_of(int fd, const char *name) {
	struct ifreq r = {0};
	MUST(ioctl(fd, TUNGETIFF, &r) == 0);
	CHECK(!strcmp(r.ifr_name, name), "interface %s, want %s", r.ifr_name, name);
	return (unsigned short)r.ifr_flags;
}

// really tells whether packets have a header in front (IFF_NO_PI): the flag is
// the same as IFF_NOFILTER.
static int really(const char *name) {
	char path[100], text[20] = {0};
	snprintf(path, sizeof path, "/sys/class/net/%s/tun_flags", name);
	int fd = open(path, O_RDONLY);
	MUST(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
	return (int)strtol(text, NULL, 16);
}

static void on(const char *name, int request, const char *addr, int value) {
	struct ifreq r = {0};
	strcpy(r.ifr_name, name);
	if (addr) {
		struct sockaddr_in *a = (void *)&r.ifr_addr;
		a->sin_family = AF_INET;
		MUST(inet_pton(AF_INET, addr, &a->sin_addr) == 1);
	} else if (request == SIOCSIFFLAGS)
		r.ifr_flags = value;
	else
		r.ifr_mtu = value;
	CHECK(ioctl(udp, request, &r) == 0, "ioctl %#x of %s", request, name);
}

static void route_to(const char *dst) {
	struct rtentry r = {.rt_flags = RTF_UP, .rt_dev = tun_name};
	((struct sockaddr_in *)&r.rt_dst)->sin_family = ((struct sockaddr_in *)&r.rt_genmask)->sin_family = AF_INET;
	MUST(inet_pton(AF_INET, dst, &((struct sockaddr_in *)&r.rt_dst)->sin_addr) == 1);
	((struct sockaddr_in *)&r.rt_genmask)->sin_addr.s_addr = htonl(0xffffff00);
	MUST(ioctl(udp, SIOCADDRT, &r) == 0);
}

// reads counts the datagrams of ours that come out of the interface.
static volatile int seen;
static void *reads(void *unused UNUSED) {
	for (;;) {
		unsigned char p[2000];
		ssize_t n = read(tun, p, sizeof p);
		MUST(n > 0);
		if (n == 33 && p[0] == 0x45 && p[9] == 17 && !memcmp(p + 28, "hello", 5))
			seen++;
	}
	return NULL;
}

static void through(const char *host) {
	int was = seen;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	MUST(inet_pton(AF_INET, host, &to.sin_addr) == 1);
	CHECK(sendto(udp, "hello", 5, 0, (void *)&to, sizeof to) == 5, "send to %s", host);
	for (int i = 0; i < 500 && seen == was; i++)
		nap_ms(10);
	CHECK(seen == was + 1, "nothing for %s came out of the interface", host);
}

static const char *host(int n, int last) {
	static char text[30];
	snprintf(text, sizeof text, "10.%d.%d.%d", n, net, last);
	return text;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	net = getpid() % 250;
	snprintf(tun_name, sizeof tun_name, "svu%d", getpid());
	snprintf(tap_name, sizeof tap_name, "svp%d", getpid());
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	tun = open_tun(tun_name, IFF_TUN | IFF_NO_PI);
	int fresh = open("/dev/net/tun", O_RDWR | O_CLOEXEC), size = 12, buf = 70000, got = 0;
	const int tap_flags = IFF_TAP | IFF_VNET_HDR | IFF_MULTI_QUEUE;
	int tap = open_tun(tap_name, tap_flags), second = open_tun(tap_name, tap_flags);
	struct ifreq detach = {.ifr_flags = IFF_DETACH_QUEUE}, attach = {.ifr_flags = IFF_ATTACH_QUEUE};
	MUST(ioctl(second, TUNSETQUEUE, &detach) == 0);
	MUST(ioctl(tap, TUNSETPERSIST, 1) == 0 && ioctl(tap, TUNSETOWNER, 65534) == 0);
	MUST(ioctl(tap, TUNSETVNETHDRSZ, &size) == 0 && ioctl(tap, TUNSETSNDBUF, &buf) == 0);
	on(tun_name, SIOCSIFMTU, NULL, 1300);
	on(tun_name, SIOCSIFADDR, host(77, 1), 0);
	on(tun_name, SIOCSIFNETMASK, "255.255.255.0", 0);
	on(tun_name, SIOCSIFFLAGS, NULL, IFF_UP);
	route_to(host(78, 0));
	thread(reads, NULL);
	through(host(77, 2));
	through(host(78, 2));
	ready_wait();
	MUST(flags_of(tun, tun_name) == (IFF_TUN | IFF_NOFILTER) && really(tun_name) == (IFF_TUN | IFF_NO_PI));
	MUST(flags_of(tap, tap_name) == (tap_flags | IFF_PERSIST | IFF_NOFILTER) && really(tap_name) == (tap_flags | IFF_PERSIST));
	MUST(flags_of(second, tap_name) & IFF_DETACH_QUEUE);
	struct ifreq r = {0};
	MUST(ioctl(fresh, TUNGETIFF, &r) == -1 && errno == EBADFD);
	MUST(ioctl(tap, TUNGETVNETHDRSZ, &got) == 0 && got == size && ioctl(tap, TUNGETSNDBUF, &got) == 0 && got == buf);
	strcpy(r.ifr_name, tun_name);
	MUST(ioctl(udp, SIOCGIFMTU, &r) == 0 && r.ifr_mtu == 1300);
	through(host(77, 2));
	through(host(78, 2));
	MUST(ioctl(second, TUNSETQUEUE, &attach) == 0 && ioctl(tap, TUNSETPERSIST, 0) == 0);
	ok();
}
