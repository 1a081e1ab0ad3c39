package task

import (
	"time"

	"golang.org/x/sys/unix"
)

// Nap sleeps for some microseconds (and the timer slack, 50 of them: man 2 prctl,
// PR_SET_TIMERSLACK). time.Sleep takes a millisecond where nothing else runs, for Go
// then waits in epoll_wait, which counts in these (runtime/netpoll_epoll.go:netpoll,
// go1.26). A tree that is frozen is not to wait for that.
func Nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // a signal may end it early
}
