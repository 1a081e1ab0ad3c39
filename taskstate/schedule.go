package taskstate

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Schedule says when and where a thread may run.
type Schedule struct {
	Nice     int    `cbor:"1,keyasint,omitempty" json:"nice,omitempty"`
	CPUs     []int  `cbor:"2,keyasint,omitempty" json:"cpus,omitempty"` // none: all there are
	Policy   uint32 `cbor:"3,keyasint,omitempty" json:"policy,omitempty"`
	Flags    uint64 `cbor:"4,keyasint,omitempty" json:"flags,omitempty"` // such as SCHED_FLAG_RESET_ON_FORK
	Priority uint32 `cbor:"5,keyasint,omitempty" json:"priority,omitempty"`
	Slack    int64  `cbor:"6,keyasint,omitempty" json:"timer_slack_ns,omitempty"`
	IOPrio   int    `cbor:"7,keyasint,omitempty" json:"io_priority,omitempty"` // class and level; 0: follows Nice

	// Of SCHED_DEADLINE, in nanoseconds.
	Runtime  uint64 `cbor:"8,keyasint,omitempty" json:"runtime_ns,omitempty"`
	Deadline uint64 `cbor:"9,keyasint,omitempty" json:"deadline_ns,omitempty"`
	Period   uint64 `cbor:"10,keyasint,omitempty" json:"period_ns,omitempty"`

	// Bounds of the cpu's frequency, where they are not 0 and 1024.
	UtilMin uint32 `cbor:"11,keyasint,omitempty" json:"util_min,omitempty"`
	UtilMax uint32 `cbor:"12,keyasint,omitempty" json:"util_max,omitempty"`

	Memory *MemPolicy `cbor:"13,keyasint,omitempty" json:"memory_policy,omitempty"`
}

const (
	schedFlagUtilClamp = 0x60 // SCHED_FLAG_UTIL_CLAMP_MIN and MAX
	utilFull           = 1024 // SCHED_CAPACITY_SCALE
)

// captureSchedule asks from outside, but for timer slack and memory policy.
func captureSchedule(c *threadCapture) error {
	tid := int(c.held.TID)
	attr, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		return err
	}
	s := &c.rec.Schedule
	s.Nice, s.Policy, s.Flags, s.Priority = int(attr.Nice), attr.Policy, attr.Flags, attr.Priority
	if attr.Policy == unix.SCHED_DEADLINE { // of others, Runtime is the scheduler's own slice
		s.Runtime, s.Deadline, s.Period = attr.Runtime, attr.Deadline, attr.Period
	}
	if attr.Util_min != 0 || attr.Util_max != 0 && attr.Util_max != utilFull {
		s.UtilMin, s.UtilMax = attr.Util_min, attr.Util_max
	}
	if s.IOPrio, err = ioprio(tid); err != nil {
		return err
	}
	slack := c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK)
	c.later = append(c.later, func() { s.Slack = slack.Ret })
	captureMemPolicy(c)
	var all, cpus unix.CPUSet
	if err := unix.SchedGetaffinity(1, &all); err != nil {
		return err
	}
	if err := unix.SchedGetaffinity(tid, &cpus); err != nil {
		return err
	}
	if cpus == all {
		return nil
	}
	for cpu := range len(cpus) * 64 {
		if cpus.IsSet(cpu) {
			s.CPUs = append(s.CPUs, cpu)
		}
	}
	return nil
}

// ioprioWhoProcess is IOPRIO_WHO_PROCESS, whose id is a thread's (man 2 ioprio_set).
const ioprioWhoProcess = 1

func ioprio(tid int) (int, error) {
	prio, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(tid), 0)
	switch errno {
	case 0:
		return int(prio), nil
	case unix.ENOSYS: // a kernel without block devices
		return 0, nil
	}
	return 0, errno
}

// restoreSchedule sets them from outside. A better priority needs privilege,
// and cpus may be missing on this host: then the thread keeps what it has.
//
// The cpus come first: a thread with a deadline may have no choice of them (man
// 7 sched, "Deadline scheduling").
func restoreSchedule(r *threadRestore) error {
	s, tid := &r.rec.Schedule, int(r.held.TID)
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
	if err := s.setPolicy(tid); err != nil {
		return err
	}
	r.batch.Add(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, s.Slack)
	if s.Memory != nil {
		s.Memory.restore(r.batch)
	}
	if s.IOPrio == 0 {
		return nil
	}
	_, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(tid), uintptr(s.IOPrio))
	if errno != 0 && errno != unix.EPERM {
		return errno
	}
	return nil
}

func (s *Schedule) setPolicy(tid int) error {
	attr := &unix.SchedAttr{Policy: s.Policy, Flags: s.Flags, Nice: int32(s.Nice), Priority: s.Priority,
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period}
	if s.UtilMin != 0 || s.UtilMax != 0 {
		attr.Flags |= schedFlagUtilClamp
		attr.Util_min, attr.Util_max = s.UtilMin, s.UtilMax
	}
	err := unix.SchedSetAttr(tid, attr, 0)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}
