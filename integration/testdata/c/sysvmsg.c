// sysvmsg: System V message queues keep ids, keys, modes, limits, and all
// messages with their types, in order.
#include "sysv.h"

struct msg {
	long type;
	char text[9000];
};
static int queue, spent;
static key_t key;
static struct msqid_ds was_queue, was_spent;

static void put(int q, long type, int size, int seed) {
	struct msg m = {.type = type};
	memset(m.text, seed, size);
	MUST(msgsnd(q, &m, size, IPC_NOWAIT) == 0);
}
static void take(int q, long want, long type, int size, int seed) {
	struct msg m;
	ssize_t n = msgrcv(q, &m, sizeof m.text, want, IPC_NOWAIT);
	CHECK(n == size && m.type == type, "message of %zd bytes and type %ld, want %d and %ld", n, m.type, size, type);
	for (int i = 0; i < size; i++)
		CHECK(m.text[i] == (char)seed, "byte %d of type %ld is %#x", i, type, m.text[i]);
}
static int sends(void *unused UNUSED) {
	put(spent, 8, 1, 1);
	return 0;
}
static void same(const char *what, int q, const struct msqid_ds *was) {
	struct msqid_ds now;
	MUST(msgctl(q, IPC_STAT, &now) == 0);
	MUST(now.msg_perm.__key == was->msg_perm.__key && now.msg_perm.mode == was->msg_perm.mode && now.msg_perm.uid == was->msg_perm.uid);
	MUST(now.msg_perm.cuid == was->msg_perm.cuid && now.msg_perm.cgid == was->msg_perm.cgid && now.msg_perm.gid == was->msg_perm.gid);
	CHECK(now.msg_qnum == was->msg_qnum && now.msg_qbytes == was->msg_qbytes, "%s: %lu messages, limit %lu", what, now.msg_qnum, now.msg_qbytes);
	CHECK(now.msg_lspid == was->msg_lspid && now.msg_lrpid == was->msg_lrpid, "%s: lspid %d lrpid %d, were %d %d", what, now.msg_lspid,
		now.msg_lrpid, was->msg_lspid, was->msg_lrpid);
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	key = new_key();
	queue = made("msg", msgget(key, IPC_CREAT | IPC_EXCL | 0620 | 0400));
	spent = made("msg", msgget(IPC_PRIVATE, 0400 | 0200));
	put(queue, 3, 100, 'a');
	put(queue, 1, 0, 0);
	put(queue, 3, 8000, 'b');
	put(queue, 0x7fffffffffff, 17, 0xff);
	put(queue, 2, 1, 0);
	for (int i = 0; i < 50; i++)
		put(queue, 100, 20, i);
	must_exit(child(sends, NULL), 0);
	take(spent, 0, 8, 1, 1);
	struct msqid_ds ds;
	MUST(msgctl(queue, IPC_STAT, &ds) == 0);
	ds.msg_qbytes = 500; // less than there is in it: nobody can send any more
	MUST(msgctl(queue, IPC_SET, &ds) == 0);
	MUST(msgctl(queue, IPC_STAT, &was_queue) == 0 && msgctl(spent, IPC_STAT, &was_spent) == 0);
	ready_wait();

	MUST(msgget(key, 0) == queue);
	same("queue", queue, &was_queue), same("spent", spent, &was_spent);
	struct msg m = {.type = 1};
	MUST(msgsnd(queue, &m, 1, IPC_NOWAIT) == -1 && errno == EAGAIN);
	MUST(msgrcv(spent, &m, 1, 0, IPC_NOWAIT) == -1 && errno == ENOMSG);
	take(queue, 2, 2, 1, 0);
	take(queue, 0, 3, 100, 'a');
	take(queue, -2, 1, 0, 0);
	take(queue, 0, 3, 8000, 'b');
	take(queue, 0, 0x7fffffffffff, 17, 0xff);
	for (int i = 0; i < 50; i++)
		take(queue, 100, 100, 20, i);
	MUST(msgrcv(queue, &m, 1, 0, IPC_NOWAIT) == -1 && errno == ENOMSG);
	MUST(msgctl(queue, IPC_RMID, NULL) == 0 && msgctl(spent, IPC_RMID, NULL) == 0);
	ok();
}
