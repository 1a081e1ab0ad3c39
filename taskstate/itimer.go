package taskstate

import (
	"bytes"

	"golang.org/x/sys/unix"
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
			if len(bytes.Trim(value, "\x00")) > 0 {
				c.rec.Intervals = append(c.rec.Intervals, Interval{which, value})
			}
		})
	}
	return nil
}

func restoreIntervals(r *restore) error {
	for _, i := range r.rec.Intervals {
		r.batch.Add(unix.SYS_SETITIMER, i.Which, i.next(), 0)
	}
	return nil
}

// next gives the time to the next tick. A timer that has just gone off has
// none: the kernel sets it again when the program takes the signal (Linux
// kernel/time/itimer.c:posixtimer_rearm_itimer, v6.18). Then it is a whole
// interval.
func (i *Interval) next() []byte {
	interval, left := i.Value[:16], i.Value[16:]
	if len(bytes.Trim(left, "\x00")) > 0 {
		return i.Value
	}
	return append(bytes.Clone(interval), interval...)
}
