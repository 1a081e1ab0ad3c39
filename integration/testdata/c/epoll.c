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
	// Files that are in the set by numbers which are closed, or are other files now.
	int moved[2], reused[2];
	MUST(!pipe(moved) && !pipe(reused));
	add(ep, moved[0], EPOLLIN, 10), add(ep, reused[0], EPOLLIN, 11);
	int moved_alias = dup(moved[0]), reused_alias = dup(reused[0]), other = eventfd(0, EFD_CLOEXEC);
	MUST(moved_alias > 0 && reused_alias > 0 && close(moved[0]) == 0 && dup3(other, reused[0], O_CLOEXEC) == reused[0]);
	// One-shots that have fired hear nothing, not even a hangup.
	int mute[2], event = eventfd(0, 0);
	MUST(!pipe(mute));
	add(ep, mute[1], EPOLLOUT | EPOLLONESHOT, 12), add(ep, event, EPOLLOUT | EPOLLONESHOT | EPOLLET, 13);
	MUST(ready_is(ep, 12, EPOLLOUT) || 1);
	add(ep, other, EPOLLIN | EPOLLEXCLUSIVE, 14);
	MUST(write(shot[1], "x", 1) == 1 && ready_is(ep, 3, EPOLLIN) && !ready_is(ep, 3, EPOLLIN)); // disarmed
	ready_wait();
	MUST(ready_is(ep, 5, EPOLLOUT));
	MUST(!ready_is(ep, 3, EPOLLIN) && !ready_is(ep, 0x1111222233334444, EPOLLIN) && !ready_is(ep, 4, EPOLLHUP));
	MUST(close(mute[0]) == 0 && !ready_is(ep, 12, EPOLLERR) && !ready_is(ep, 12, EPOLLOUT | EPOLLERR) && !ready_is(ep, 13, EPOLLOUT));
	MUST(!ready_is(ep, 10, EPOLLIN) && write(moved[1], "x", 1) == 1 && ready_is(ep, 10, EPOLLIN));
	MUST(!ready_is(ep, 11, EPOLLIN) && write(reused[1], "x", 1) == 1 && ready_is(ep, 11, EPOLLIN));
	MUST(fcntl(reused[0], F_GETFD) == FD_CLOEXEC && write(other, &(uint64_t){1}, 8) == 8 && ready_is(ep, 14, EPOLLIN));
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
