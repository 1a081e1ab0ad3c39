package taskstate

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Schedule says when and where a thread may run. Other policies than the
// normal one are refused.
type Schedule struct {
	Nice int   `cbor:"1,keyasint,omitempty" json:"nice,omitempty"`
	CPUs []int `cbor:"2,keyasint,omitempty" json:"cpus,omitempty"` // none: all there are
}

// captureSchedule asks from outside. The raw getpriority(2) gives 20 - nice.
func captureSchedule(c *threadCapture) error {
	prio, err := unix.Getpriority(unix.PRIO_PROCESS, int(c.held.TID))
	if err != nil {
		return err
	}
	c.rec.Schedule.Nice = 20 - prio
	var all, cpus unix.CPUSet
	if err := unix.SchedGetaffinity(1, &all); err != nil {
		return err
	}
	if err := unix.SchedGetaffinity(int(c.held.TID), &cpus); err != nil {
		return err
	}
	if cpus == all {
		return nil
	}
	for cpu := range len(cpus) * 64 {
		if cpus.IsSet(cpu) {
			c.rec.Schedule.CPUs = append(c.rec.Schedule.CPUs, cpu)
		}
	}
	return nil
}

// restoreSchedule sets them from outside. A better priority needs privilege,
// and cpus may be missing on this host: then the thread keeps what it has.
func restoreSchedule(r *threadRestore) error {
	s, tid := &r.rec.Schedule, int(r.held.TID)
	prio, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err != nil {
		return err
	}
	if 20-prio != s.Nice {
		err = unix.Setpriority(unix.PRIO_PROCESS, tid, s.Nice)
		if err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	set := r.base.CPUs
	if len(s.CPUs) > 0 {
		set.Zero()
	}
	for _, cpu := range s.CPUs {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
