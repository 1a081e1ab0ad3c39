package taskstate

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Clocks are the clocks that must not jump, as the tree sees them in its time
// namespace, in nanoseconds.
type Clocks struct {
	Monotonic time.Duration `cbor:"1,keyasint" json:"monotonic_ns"`
	Boottime  time.Duration `cbor:"2,keyasint" json:"boottime_ns"`
}

// CaptureClocks reads the clocks as process pid sees them.
func CaptureClocks(pid task.PID) (Clocks, error) {
	return readClocks(func(clock int) (time.Duration, error) { return procfs.Clock(int(pid), clock) })
}

func readClocks(read func(clock int) (time.Duration, error)) (c Clocks, err error) {
	if c.Monotonic, err = read(unix.CLOCK_MONOTONIC); err != nil {
		return c, err
	}
	c.Boottime, err = read(unix.CLOCK_BOOTTIME)
	return c, err
}

// Offsets gives the content for /proc/PID/timens_offsets of a namespace in
// which the clocks go on from c now.
func (c Clocks) Offsets() (string, error) {
	host, err := readClocks(procfs.HostClock)
	if err != nil {
		return "", err
	}
	return offsetLine("monotonic", c.Monotonic-host.Monotonic) + offsetLine("boottime", c.Boottime-host.Boottime), nil
}

// Ahead tells whether one of the clocks is ahead of this host's.
func (c Clocks) Ahead() (bool, error) {
	host, err := readClocks(procfs.HostClock)
	return c.Monotonic > host.Monotonic || c.Boottime > host.Boottime, err
}

// offsetLine splits an offset so that the nanoseconds are not negative, as
// the kernel demands (Linux kernel/time/namespace.c:proc_timens_set_offset, v6.18).
func offsetLine(clock string, d time.Duration) string {
	sec, nsec := int64(d/time.Second), int64(d%time.Second)
	if nsec < 0 {
		sec, nsec = sec-1, nsec+int64(time.Second)
	}
	return fmt.Sprintf("%s %d %d\n", clock, sec, nsec)
}
