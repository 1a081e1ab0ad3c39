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
	Flags    uint64 `cbor:"4,keyasint,omitempty" json:"flags,omitempty"`
	Priority uint32 `cbor:"5,keyasint,omitempty" json:"priority,omitempty"`
	Slack    int64  `cbor:"6,keyasint,omitempty" json:"timer_slack_ns,omitempty"`
}

// captureSchedule asks from outside, but for the timer slack.
func captureSchedule(c *threadCapture) error {
	attr, err := unix.SchedGetAttr(int(c.held.TID), 0)
	if err != nil {
		return err
	}
	s := &c.rec.Schedule
	s.Nice, s.Policy, s.Flags, s.Priority = int(attr.Nice), attr.Policy, attr.Flags, attr.Priority
	slack := c.batch.Add(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK)
	c.later = append(c.later, func() { s.Slack = slack.Ret })
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
	attr := &unix.SchedAttr{Policy: s.Policy, Flags: s.Flags, Nice: int32(s.Nice), Priority: s.Priority}
	err := unix.SchedSetAttr(tid, attr, 0)
	if err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return err
	}
	r.batch.Add(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, s.Slack)
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
