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

// hostClocks reads the clocks of the initial time namespace: ours, without
// the offset that our own time namespace adds (man 7 time_namespaces).
func hostClocks() (Clocks, error) {
	var mono, boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
		return Clocks{}, err
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return Clocks{}, err
	}
	m, b, err := procfs.ReadTimensOffsets(unix.Getpid())
	return Clocks{
		Monotonic: time.Duration(mono.Nano() - m.Nano()),
		Boottime:  time.Duration(boot.Nano() - b.Nano()),
	}, err
}

// CaptureClocks reads the clocks as process pid sees them.
func CaptureClocks(pid task.PID) (Clocks, error) {
	host, err := hostClocks()
	if err != nil {
		return host, fmt.Errorf("read clocks: %w", err)
	}
	m, b, err := procfs.ReadTimensOffsets(int(pid))
	if err != nil {
		return host, gone(pid, err)
	}
	host.Monotonic += time.Duration(m.Nano())
	host.Boottime += time.Duration(b.Nano())
	return host, nil
}

// Offsets gives the content for /proc/PID/timens_offsets of a namespace in
// which the clocks go on from c now.
func (c Clocks) Offsets() (string, error) {
	host, err := hostClocks()
	if err != nil {
		return "", fmt.Errorf("read clocks: %w", err)
	}
	return offsetLine("monotonic", c.Monotonic-host.Monotonic) + offsetLine("boottime", c.Boottime-host.Boottime), nil
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
