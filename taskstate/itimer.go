package taskstate

import (
	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// Interval is an armed interval timer (man 2 setitimer): struct itimerval as
// the kernel gives it, with the time left.
type Interval struct {
	Which int    `cbor:"1,keyasint" json:"which"`
	Value []byte `cbor:"2,keyasint" json:"value"`
}

func captureIntervals(c *capture) error {
	for _, which := range []int{unix.ITIMER_REAL, unix.ITIMER_VIRTUAL, unix.ITIMER_PROF} {
		value := make([]byte, 32)
		c.batch.Add(unix.SYS_GETITIMER, which, value)
		c.later = append(c.later, func() {
			if armed(value) {
				c.rec.Intervals = append(c.rec.Intervals, Interval{which, value})
			}
		})
	}
	return nil
}

// armed tells whether it_value, the second half, is not zero.
func armed(value []byte) bool {
	for _, b := range value[16:] {
		if b != 0 {
			return true
		}
	}
	return false
}

func restoreIntervals(r *restore) error {
	var b task.Batch
	for _, i := range r.rec.Intervals {
		b.Add(unix.SYS_SETITIMER, i.Which, i.Value, 0)
	}
	return r.held.Run(&b)
}
