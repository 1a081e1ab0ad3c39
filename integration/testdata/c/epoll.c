// epoll: targets, events, data and modes; one epoll inside another.
#include "prog.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static void add(int ep, int fd, uint32_t events, uint64_t data) {
	struct epoll_event ev = {.events = events, .data.u64 = data};
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
}
static int ready_is(int ep, uint64_t data, uint32_t events) {
	struct epoll_event ev[20];
	int n = epoll_wait(ep, ev, 20, 0);
	for (int i = 0; i < n; i++)
		if (ev[i].data.u64 == data)
			return ev[i].events == events;
	return 0;
}

int main(int argc, char **argv) {
	prog_init(argc, argv);
	int lt[2], et[2], shot[2], gone[2], twice[2];
	MUST(!pipe(lt) && !pipe(et) && !pipe(shot) && !pipe(gone) && !pipe(twice));
	int ep = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(0), ev = eventfd(0, EFD_NONBLOCK), tfd = timerfd_create(CLOCK_MONOTONIC, 0);
	add(ep, lt[0], EPOLLIN, 0x1111222233334444);
	add(ep, et[0], EPOLLIN | EPOLLET, 2);
	add(ep, shot[0], EPOLLIN | EPOLLONESHOT, 3);
	add(ep, gone[0], EPOLLIN, 4);
	add(ep, ev, EPOLLIN | EPOLLOUT, 5);
	add(ep, tfd, EPOLLIN, 6);
	int alias = dup(twice[0]);
	add(ep, twice[0], EPOLLIN, 7);
	add(ep, alias, EPOLLIN | EPOLLPRI, 8); // one pipe, two descriptors
	add(outer, ep, EPOLLIN, 9);
	close(gone[0]); // leaves the set with it
	MUST(write(shot[1], "x", 1) == 1 && ready_is(ep, 3, EPOLLIN) && !ready_is(ep, 3, EPOLLIN)); // disarmed
	ready_wait();
	MUST(ready_is(ep, 5, EPOLLOUT));
	MUST(!ready_is(ep, 3, EPOLLIN) && !ready_is(ep, 0x1111222233334444, EPOLLIN) && !ready_is(ep, 4, EPOLLHUP));
	MUST(write(lt[1], "x", 1) == 1);
	MUST(ready_is(ep, 0x1111222233334444, EPOLLIN) && ready_is(ep, 0x1111222233334444, EPOLLIN)); // level
	MUST(write(et[1], "x", 1) == 1);
	MUST(ready_is(ep, 2, EPOLLIN) && !ready_is(ep, 2, EPOLLIN)); // edge
	struct epoll_event again = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 33};
	MUST(epoll_ctl(ep, EPOLL_CTL_MOD, shot[0], &again) == 0 && ready_is(ep, 33, EPOLLIN));
	MUST(write(twice[1], "x", 1) == 1);
	struct epoll_event got[20];
	int n = epoll_wait(ep, got, 20, 0), seen = 0;
	for (int i = 0; i < n; i++)
		seen |= got[i].data.u64 == 7 ? 1 : got[i].data.u64 == 8 ? 2 : 0;
	CHECK(seen == 3, "of two descriptors of one pipe, %d reported", seen);
	struct itimerspec soon = {.it_value = {0, 1000000}};
	timerfd_settime(tfd, 0, &soon, NULL);
	nap_ms(5);
	MUST(ready_is(ep, 6, EPOLLIN) && ready_is(outer, 9, EPOLLIN));
	MUST(epoll_ctl(ep, EPOLL_CTL_DEL, ev, NULL) == 0 && fcntl(ep, F_GETFD) == FD_CLOEXEC);
	ok();
}
