package fdstate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Poll asks what is ready on a descriptor of ours, without waiting. Even so a
// signal may interrupt it (Linux fs/select.c:do_poll, v6.12), as the Go
// runtime's own do.
func Poll(fd int, events int16) (int16, error) {
	set := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		_, err := unix.Poll(set, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("poll: %w", err)
		}
		return set[0].Revents, nil
	}
}
