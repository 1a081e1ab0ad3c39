// objects KIND...: holds objects of the kinds named, then waits. Each kind that
// does not exist on this host is reported as "lacks KIND" and exits with 77.
#include "prog.h"
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

static int o_io_uring(void) {
	struct io_uring_params p = {0};
	return syscall(SYS_io_uring_setup, 8, &p);
}
static int o_userfaultfd(void) { return syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */); }
static int o_secretmem(void) {
	int fd = syscall(447 /* memfd_secret */, 0);
	if (fd < 0 || ftruncate(fd, PAGE))
		return -1;
	char *m = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
	close(fd);
	return m == MAP_FAILED ? -1 : (*m = 1, 0);
}
static int o_uffd(void) {
	struct uffdio_api api = {.api = UFFD_API};
	int fd = syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
	struct uffdio_register reg = {.range = {(unsigned long)map(PAGE, RW, ANON), PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	return fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ? -1 : fd;
}
static int o_pidfd(void) { return syscall(SYS_pidfd_open, getpid(), 0); }
static int new_queue(void) {
	char name[64];
	snprintf(name, sizeof name, "/supervise-test-%d", getpid());
	int q = mq_open(name, O_RDWR | O_CREAT, 0600, NULL);
	mq_unlink(name);
	return q;
}
static int o_mqnotify(void) {
	struct sigevent told = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	return mq_notify(new_queue(), &told);
}
static int waits(void *unused UNUSED) {
	wait_go();
	return 0;
}
static void *leaves(void *gate) {
	char *stack = map(64 * KiB, RW, ANON);
	MUST(unshare(CLONE_FILES) == 0 && clone(waits, stack + 64 * KiB, CLONE_FILES | SIGCHLD, NULL) > 0);
	gate_pass(gate);
	wait_go();
	return NULL;
}
static int o_landlock(void) { // it may list no directory
	struct {
		uint64_t fs;
	} attr = {1 << 3}; // LANDLOCK_ACCESS_FS_READ_DIR
	int fd = syscall(444, &attr, sizeof attr, 0);
	if (fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(446, fd, 0))
		return -1;
	return close(fd);
}
static int o_seccomp(void) { // a filter that allows everything
	struct sock_filter f[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog p = {1, f};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);
}
static int o_seccompkill(void) { // a filter that ends the program for a call that a snapshot makes
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getitimer, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {4, f};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);
}
static int o_strict(void) { // a child in strict mode, until its parent ends
	int p[2];
	MUST(pipe(p) == 0);
	if (fork() == 0) {
		char c;
		close(p[1]);
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		syscall(SYS_exit, (int)read(p[0], &c, 1));
	}
	return close(p[0]);
}
static int o_threadshares(void) { // a thread and another process have a descriptor table
	void *gate = (void *)new_gate();
	thread(leaves, gate);
	gate_wait(gate, 1);
	return 0;
}
static int o_traced(void) { // by a process of the same tree
	pid_t c = child(waits, NULL);
	return ptrace(PTRACE_SEIZE, c, NULL, NULL);
}
// Sockets that are refused for what they are.
static int o_vsock(void) { return socket(AF_VSOCK, SOCK_STREAM, 0); }
static int o_xdp(void) { return socket(AF_XDP, SOCK_RAW, 0); }
static int o_alg(void) { return socket(AF_ALG, SOCK_SEQPACKET, 0); }
static int o_sctp(void) { return socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP); }
static int o_rds(void) { return socket(AF_RDS, SOCK_SEQPACKET, 0); }
static int o_bluetooth(void) { return socket(AF_BLUETOOTH, SOCK_SEQPACKET, 0); }
static int o_connector(void) { return socket(AF_NETLINK, SOCK_DGRAM, NETLINK_CONNECTOR); }

// Sockets that are refused for what they have.
static int o_corked(void) {
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return (int)sendto(fd, "x", 1, MSG_MORE, (void *)&to, sizeof to);
}
static int o_answer(void) { // of the kernel, that nobody reads
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = {.h = {sizeof q, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 7, 0}};
	return (int)send(fd, &q, sizeof q, 0);
}
static int o_ring(void) {
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	struct tpacket_req r = {4096, 4, 2048, 8};
	return setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof r);
}
static int o_offload(void) {
	int fd = open("/dev/net/tun", O_RDWR);
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	return ioctl(fd, TUNSETIFF, &r) ? -1 : ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM);
}
static int o_sockbpf(void) { // return 1
	struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr a = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2, .insns = (uintptr_t)code, .license = (uintptr_t) "GPL"};
	int prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof a), fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (prog < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &prog, sizeof prog))
		return -1;
	return close(prog);
}
static int o_ping(void) { // whose answer nobody reads
	int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return (int)sendto(fd, "\10\0\0\0\0\0\0\0", 8, 0, (void *)&to, sizeof to);
}

static const struct {
	const char *name;
	int (*make)(void);
} kinds[] = {
#define O(n) {#n, o_##n}
	O(vsock), O(xdp), O(alg), O(sctp), O(rds), O(bluetooth), O(connector),
	O(corked), O(answer), O(ring), O(sockbpf), O(offload), O(ping), O(io_uring), O(userfaultfd), O(pidfd), O(mqnotify),
	O(threadshares), O(landlock), O(seccomp), O(seccompkill), O(strict),
	O(secretmem), O(uffd),
	O(traced),
};

int main(int argc, char **argv) {
	prog_init(argc, argv);
	for (int k = 3; k < argc; k++)
		for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
			if (!strcmp(kinds[i].name, argv[k]) && kinds[i].make() < 0) {
				char line[100];
				snprintf(line, sizeof line, "lacks %s: %s", argv[k], strerror(errno));
				say(line);
				return 77;
			}
	ready_wait();
	ok();
}
