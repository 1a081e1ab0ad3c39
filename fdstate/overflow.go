package fdstate

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// overflowInotify leaves IN_Q_OVERFLOW in the queue of an inotify instance
// that has no watches yet, and nothing else. This takes three steps:
//  1. A file of ours is changed in two ways by turns, until the queue is full
//     and the event of its overflow stands at its end.
//  2. The watch of that file is removed. IN_IGNORED finds no room, and the
//     overflow is there already (Linux
//     fs/notify/notification.c:fsnotify_insert_event, v6.12).
//  3. Everything but the last event is read.
func overflowInotify(in int) error {
	file, err := unix.MemfdCreate("supervise", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(file)
	wd, err := unix.InotifyAddWatch(in, fmt.Sprintf("/proc/self/fd/%d", file), unix.IN_MODIFY|unix.IN_ATTRIB)
	if err != nil {
		return fmt.Errorf("inotify_add_watch: %w", err)
	}
	waiting, err := fillInotify(in, file)
	if err != nil {
		return err
	}
	if _, err := unix.InotifyRmWatch(in, uint32(wd)); err != nil {
		return fmt.Errorf("inotify_rm_watch: %w", err)
	}
	buf := make([]byte, 64<<10)
	for waiting > unix.SizeofInotifyEvent {
		n, err := unix.Read(in, buf[:min(len(buf), waiting-unix.SizeofInotifyEvent)])
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		waiting -= n
	}
	return nil
}

// fillInotify changes a watched file until no event more finds room, and gives
// the size of what is in the queue.
func fillInotify(in, file int) (size int, err error) {
	const between = 128 // pairs of events, between two looks
	for {
		for range between {
			// Equal events one after the other are merged: these are not.
			if err := unix.Ftruncate(file, 0); err != nil {
				return 0, fmt.Errorf("ftruncate: %w", err)
			}
			if err := unix.Fchmod(file, 0o600); err != nil {
				return 0, fmt.Errorf("fchmod: %w", err)
			}
		}
		now, err := unix.IoctlGetInt(in, fionread)
		if err != nil {
			return 0, fmt.Errorf("ioctl FIONREAD: %w", err)
		}
		if now == size {
			return size, nil
		}
		size = now
	}
}
