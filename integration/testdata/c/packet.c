// packet: packet sockets, bound and not, with memberships, fanout, options and
// filters. Only root has them.
#include "prog.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static int packet(int type, int protocol) {
	int fd = socket(AF_PACKET, type | SOCK_CLOEXEC, htons(protocol));
	MUST(fd >= 0);
	return fd;
}

static void set(int fd, int name, int value) {
	CHECK(setsockopt(fd, SOL_PACKET, name, &value, sizeof value) == 0, "set option %d", name);
}

static int get(int fd, int name) {
	int got = -1;
	socklen_t n = sizeof got;
	CHECK(getsockopt(fd, SOL_PACKET, name, &got, &n) == 0, "get option %d", name);
	return got;
}

static struct sockaddr_ll name(int fd) {
	struct sockaddr_ll a = {0};
	socklen_t n = sizeof a;
	MUST(getsockname(fd, (void *)&a, &n) == 0);
	return a;
}

static void bind_to(int fd, int protocol, const char *dev) {
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = if_nametoindex(dev)};
	MUST(bind(fd, (void *)&a, sizeof a) == 0);
}

// strange is an ethertype of our own.
static int strange;

// frame sends one on lo, which all sockets there see.
static void frame(int fd, const char *text) {
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(strange), .sll_ifindex = if_nametoindex("lo"), .sll_halen = 6};
	MUST(sendto(fd, text, strlen(text), 0, (void *)&to, sizeof to) == (ssize_t)strlen(text));
}

static void hears(int fd, const char *text) {
	char got[100];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK(poll(&p, 1, 5000) == 1, "no '%s'", text);
	ssize_t n = recv(fd, got, sizeof got, 0);
	CHECK(n == (ssize_t)strlen(text) && !memcmp(got, text, n), "got %zd bytes, want '%s'", n, text);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	strange = 0x9200 + getpid() % 0x5000;
	int raw = packet(SOCK_RAW, 0), cooked = packet(SOCK_DGRAM, 0), fresh = packet(SOCK_DGRAM, 0), any = packet(SOCK_RAW, 0x88b6);
	bind_to(cooked, strange, "lo");
	set(raw, PACKET_AUXDATA, 1);
	set(raw, PACKET_RESERVE, 64);
	set(raw, PACKET_VERSION, TPACKET_V2);
	set(raw, PACKET_IGNORE_OUTGOING, 1);
	struct packet_mreq m = {.mr_ifindex = if_nametoindex("eth0"), .mr_type = PACKET_MR_MULTICAST, .mr_alen = 6, .mr_address = {1, 0, 0x5e, 1, 2, 3}};
	if (!m.mr_ifindex)
		m.mr_ifindex = if_nametoindex("lo");
	MUST(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m) == 0);
	MUST(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m) == 0); // counted
	m.mr_type = PACKET_MR_ALLMULTI;
	MUST(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m) == 0);
	struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 100), BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog prog = {4, code};
	MUST(setsockopt(cooked, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog) == 0);
	int fan[2], group = getpid() & 0xffff;
	for (int i = 0; i < 2; i++) {
		fan[i] = packet(SOCK_DGRAM, 0);
		bind_to(fan[i], strange, "lo");
		set(fan[i], PACKET_FANOUT, group | PACKET_FANOUT_LB << 16);
	}
	ready_wait();
	struct sockaddr_ll a = name(cooked);
	MUST(a.sll_protocol == htons(strange) && a.sll_ifindex == (int)if_nametoindex("lo"));
	a = name(fresh);
	MUST(a.sll_protocol == 0 && a.sll_ifindex == 0);
	a = name(any);
	MUST(a.sll_protocol == htons(0x88b6) && a.sll_ifindex == 0);
	MUST(get(raw, PACKET_AUXDATA) == 1 && get(raw, PACKET_RESERVE) == 64 && get(raw, PACKET_VERSION) == TPACKET_V2 && get(raw, PACKET_IGNORE_OUTGOING) == 1);
	for (int i = 0; i < 2; i++)
		MUST(get(fan[i], PACKET_FANOUT) == (group | PACKET_FANOUT_LB << 16));
	frame(fresh, "no");
	frame(fresh, "yes");
	hears(cooked, "yes");
	int heard = 0;
	for (int i = 0; i < 2; i++)
		for (char c[9]; recv(fan[i], c, 9, MSG_DONTWAIT) > 0;)
			heard++;
	CHECK(heard == 2, "the group has heard %d of 2", heard);
	MUST(setsockopt(raw, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof m) == 0);
	m.mr_type = PACKET_MR_MULTICAST;
	MUST(setsockopt(raw, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof m) == 0);
	MUST(setsockopt(raw, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof m) == 0);
	m.mr_address[5] = 9;
	MUST(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m) == 0);
	ok();
}
