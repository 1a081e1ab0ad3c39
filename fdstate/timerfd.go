package fdstate

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// tfdSetTicks is TFD_IOC_SET_TICKS (Linux include/uapi/linux/timerfd.h). It
// needs CONFIG_CHECKPOINT_RESTORE.
const tfdSetTicks = 0x40085400

// Timerfd is the image record of a timerfd. Times are in nanoseconds.
type Timerfd struct {
	Clock    int    `cbor:"1,keyasint,omitempty" json:"clock"`
	Flags    int    `cbor:"2,keyasint,omitempty" json:"flags,omitempty"` // of timerfd_settime
	Ticks    uint64 `cbor:"3,keyasint,omitempty" json:"ticks,omitempty"` // expirations not read yet
	Interval int64  `cbor:"4,keyasint,omitempty" json:"interval,omitempty"`

	// Value is the time left; of an absolute timer it is the time on its
	// clock, so that it expires when the program expects it, however late the
	// restart is. 0 is a timer that is not set.
	Value int64 `cbor:"5,keyasint,omitempty" json:"value,omitempty"`
}

func captureTimerfd(d *Desc, _ *Survey) (Record, error) {
	t, err := d.Info.Timerfd()
	if err != nil {
		return nil, err
	}
	if t, err = d.nextExpiry(t); err != nil {
		return nil, err
	}
	rec := &Timerfd{Clock: t.ClockID, Flags: t.SettimeFlags, Ticks: t.Ticks, Interval: t.Interval.Nano(), Value: t.Value.Nano()}
	if rec.absolute() && rec.Value != 0 {
		now, err := procfs.Clock(int(d.PID), rec.Clock)
		rec.Value += int64(now)
		return rec, err
	}
	return rec, nil
}

func (rec *Timerfd) absolute() bool { return rec.Flags&unix.TFD_TIMER_ABSTIME != 0 }

// nextExpiry corrects the time left of an interval timer that has expired and
// has not been read: the kernel starts it again only when it is read, and
// prints 0 until then, as if it were not set (Linux fs/timerfd.c:timerfd_show,
// v6.12). timerfd_gettime starts it again too, and counts the same expirations
// as the read would have. That is done only to absolute timers, where it
// matters in which rhythm they go on.
func (d *Desc) nextExpiry(t procfs.Timerfd) (procfs.Timerfd, error) {
	if t.Ticks == 0 || t.Interval.Nano() == 0 || t.Value.Nano() != 0 {
		return t, nil
	}
	t.Value = t.Interval
	if t.SettimeFlags&unix.TFD_TIMER_ABSTIME == 0 {
		return t, nil
	}
	err := d.look(func(fd int) error {
		var now unix.ItimerSpec
		if err := unix.TimerfdGettime(fd, &now); err != nil {
			return fmt.Errorf("timerfd_gettime: %w", err)
		}
		t.Value = now.Value
		return nil
	})
	if err != nil {
		return t, err
	}
	info, err := procfs.ReadFDInfo(int(d.PID), d.FD)
	if err != nil {
		return t, err
	}
	again, err := info.Timerfd()
	t.Ticks = again.Ticks
	return t, err
}

// Restore makes a timer that is not set yet.
func (rec *Timerfd) Restore(o *Opener, _ *File, at Slot) error {
	o.Open(at, fmt.Sprintf("timerfd_create of clock %d", rec.Clock), unix.SYS_TIMERFD_CREATE, rec.Clock, at.flag())
	return nil
}

func (rec *Timerfd) procs(first int) []int { return []int{first} }

// Link sets the timer, in a process of the tree, since absolute times are of
// the setter's time namespace and the builder is in another. One that is not
// armed is set too, to keep its flags. Expirations not read yet come last:
// setting the timer clears them.
func (rec *Timerfd) Link(o *Opener, i, file int) {
	num := o.r.number(i, file)
	var spec []byte
	for _, ns := range []int64{rec.Interval, rec.Value} {
		spec = binary.LittleEndian.AppendUint64(spec, uint64(ns/1e9))
		spec = binary.LittleEndian.AppendUint64(spec, uint64(ns%1e9))
	}
	o.Call("timerfd_settime", unix.SYS_TIMERFD_SETTIME, num, rec.Flags, spec, 0)
	if rec.Ticks > 0 {
		o.Call("ioctl TFD_IOC_SET_TICKS", unix.SYS_IOCTL, num, tfdSetTicks, binary.LittleEndian.AppendUint64(nil, rec.Ticks))
	}
}
