package procfs

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Clock reads a clock as a process sees it now. CLOCK_MONOTONIC, CLOCK_BOOTTIME
// and those like them differ from ours by the offsets of the two time
// namespaces (man 7 time_namespaces).
func Clock(pid, clock int) (time.Duration, error) {
	now, err := HostClock(clock)
	if err != nil {
		return 0, err
	}
	offset, err := clockOffset(pid, clock)
	return now + offset, err
}

// HostClock reads a clock as the initial time namespace has it.
func HostClock(clock int) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(clock), &ts); err != nil {
		return 0, fmt.Errorf("read clock %d: %w", clock, err)
	}
	offset, err := clockOffset(os.Getpid(), clock)
	return time.Duration(ts.Nano()) - offset, err
}

// clockOffset is what a process's time namespace adds to a clock.
func clockOffset(pid, clock int) (time.Duration, error) {
	monotonic, boottime, err := ReadTimensOffsets(pid)
	if err != nil {
		return 0, err
	}
	switch clock {
	case unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE:
		return time.Duration(monotonic.Nano()), nil
	case unix.CLOCK_BOOTTIME, unix.CLOCK_BOOTTIME_ALARM:
		return time.Duration(boottime.Nano()), nil
	}
	return 0, nil
}

// Began tells when a process began, by the wall clock as it is now. Its
// StartTime has the resolution of a tick.
func Began(st *Stat) (time.Time, error) {
	const tick = time.Second / 100 // USER_HZ, which every architecture here has
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return time.Time{}, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
	}
	return time.Now().Add(time.Duration(st.StartTime)*tick - time.Duration(boot.Nano())), nil
}
