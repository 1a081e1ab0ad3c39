// netlink: netlink sockets with ports, groups and options, that are asked
// something afterwards.
#include "prog.h"
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static int open_nl(int protocol) {
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	CHECK(fd >= 0, "protocol %d", protocol);
	return fd;
}

static struct sockaddr_nl name(int fd) {
	struct sockaddr_nl a = {0};
	socklen_t n = sizeof a;
	MUST(getsockname(fd, (void *)&a, &n) == 0);
	return a;
}

static void set(int fd, int level, int name, int value) {
	CHECK(setsockopt(fd, level, name, &value, sizeof value) == 0, "set option %d", name);
}

static void is(int fd, int level, int name, int value) {
	int got = -1;
	socklen_t n = sizeof got;
	MUST(getsockopt(fd, level, name, &got, &n) == 0);
	CHECK(got == value, "option %d is %d, want %d", name, got, value);
}

// ask has the kernel list the interfaces, and looks for lo.
static void ask(int fd) {
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = {.h = {sizeof q, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 7, 0}};
	MUST(send(fd, &q, sizeof q, 0) == sizeof q);
	unsigned port = name(fd).nl_pid;
	int lo = 0;
	for (;;) {
		static char buf[65536];
		ssize_t n = recv(fd, buf, sizeof buf, 0);
		MUST(n > 0);
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			CHECK(h->nlmsg_pid == port && h->nlmsg_seq == 7, "answer for port %u, we are %u", h->nlmsg_pid, port);
			if (h->nlmsg_type == NLMSG_DONE) {
				MUST(lo);
				return;
			}
			MUST(h->nlmsg_type == RTM_NEWLINK);
			lo |= ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_flags & 8 /* IFF_LOOPBACK */;
		}
	}
}

static void in_groups(int fd, unsigned low, unsigned high) {
	unsigned got[4] = {0};
	socklen_t n = sizeof got;
	MUST(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, got, &n) == 0);
	CHECK(got[0] == low && got[1] == high, "groups %#x %#x", got[0], got[1]);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int fresh = open_nl(NETLINK_ROUTE), route = open_nl(NETLINK_ROUTE), second = open_nl(NETLINK_ROUTE);
	struct sockaddr_nl any = {.nl_family = AF_NETLINK}, group = {.nl_family = AF_NETLINK, .nl_groups = 1};
	MUST(bind(route, (void *)&any, sizeof any) == 0);
	MUST(bind(second, (void *)&any, sizeof any) == 0);
	set(route, SOL_NETLINK, NETLINK_EXT_ACK, 1);
	set(route, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
	set(route, SOL_SOCKET, SO_RCVBUF, 100000);
	// Groups in which nothing happens meanwhile.
	set(second, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_DCB);
	set(second, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_BRVLAN);
	set(second, SOL_NETLINK, NETLINK_PKTINFO, 1);
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, 0xffffffff)};
	struct sock_fprog prog = {1, code};
	MUST(setsockopt(second, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog) == 0);
	int uevent = open_nl(NETLINK_KOBJECT_UEVENT), diag = open_nl(NETLINK_SOCK_DIAG), generic = open_nl(NETLINK_GENERIC);
	MUST(bind(uevent, (void *)&group, sizeof group) == 0);
	struct sockaddr_nl before[] = {name(route), name(second), name(uevent), name(fresh)};
	MUST(before[0].nl_pid && before[1].nl_pid && before[0].nl_pid != before[1].nl_pid && !before[3].nl_pid);
	ask(route);
	ready_wait();
	struct sockaddr_nl after[] = {name(route), name(second), name(uevent), name(fresh)};
	for (int i = 0; i < 4; i++)
		CHECK(!memcmp(&before[i], &after[i], sizeof after[i]), "socket %d is at %u, was at %u", i, after[i].nl_pid, before[i].nl_pid);
	is(route, SOL_NETLINK, NETLINK_EXT_ACK, 1);
	is(route, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
	is(route, SOL_SOCKET, SO_RCVBUF, 200000);
	is(second, SOL_NETLINK, NETLINK_PKTINFO, 1);
	is(diag, SOL_SOCKET, SO_PROTOCOL, NETLINK_SOCK_DIAG);
	is(generic, SOL_SOCKET, SO_PROTOCOL, NETLINK_GENERIC);
	in_groups(second, 1u << (RTNLGRP_DCB - 1), 1u << (RTNLGRP_BRVLAN - 33));
	in_groups(uevent, 1, 0);
	struct sock_filter got[4];
	socklen_t n = 4;
	MUST(getsockopt(second, SOL_SOCKET, SO_GET_FILTER, got, &n) == 0 && n == 1 && got[0].k == 0xffffffff);
	ask(route);
	ask(second);
	ask(fresh);
	ok();
}
