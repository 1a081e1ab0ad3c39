package procfs

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// Eventfd is the state of an eventfd(2).
type Eventfd struct {
	Count     uint64
	ID        int
	Semaphore bool // made with EFD_SEMAPHORE
}

// Eventfd decodes the fdinfo of an eventfd. The count is in hexadecimal,
// padded with spaces (Linux fs/eventfd.c:eventfd_show_fdinfo, v6.12).
func (f *FDInfo) Eventfd() (e Eventfd, err error) {
	err = f.fields("not an eventfd", []fdField{
		{"eventfd-count:", func(c *cursor) { e.Count = c.hex() }},
		{"eventfd-id:", func(c *cursor) { e.ID = int(c.int()) }},
		{"eventfd-semaphore:", func(c *cursor) { e.Semaphore = c.flag('1', '0') }},
	})
	return e, err
}

// SignalMask decodes the fdinfo of a signalfd(2): the signals it accepts, bit
// 0 being signal 1.
func (f *FDInfo) SignalMask() (mask uint64, err error) {
	err = f.fields("not a signalfd", []fdField{
		{"sigmask:", func(c *cursor) { mask = c.hex() }},
	})
	return mask, err
}

// Timerfd is the state of a timerfd.
type Timerfd struct {
	ClockID      int
	Ticks        uint64 // expirations not read yet
	SettimeFlags int    // TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET
	Value        unix.Timespec
	Interval     unix.Timespec
}

// Timerfd decodes the fdinfo of a timerfd. Value is the time that is left,
// even for a timer that was set to an absolute time (Linux
// fs/timerfd.c:timerfd_show, v6.12).
func (f *FDInfo) Timerfd() (t Timerfd, err error) {
	err = f.fields("not a timerfd", []fdField{
		{"clockid:", func(c *cursor) { t.ClockID = int(c.int()) }},
		{"ticks:", func(c *cursor) { t.Ticks = c.dec() }},
		{"settime flags:", func(c *cursor) { t.SettimeFlags = int(c.uint32(8)) }},
		{"it_value:", func(c *cursor) { t.Value = c.timespec() }},
		{"it_interval:", func(c *cursor) { t.Interval = c.timespec() }},
	})
	return t, err
}

// timespec takes "(seconds, nanoseconds)".
func (c *cursor) timespec() (ts unix.Timespec) {
	c.lit("(")
	ts.Sec = c.int()
	c.lit(", ")
	ts.Nsec = c.int()
	c.lit(")")
	return ts
}

// EpollTarget is a file that an epoll(7) instance watches.
type EpollTarget struct {
	TFD int // the descriptor's number when it was added; it may be another file's now

	// Events is EPOLL*, with EPOLLERR and EPOLLHUP, which the kernel adds. A
	// one-shot that has fired has lost its events, and is left with
	// EPOLLONESHOT, EPOLLET, EPOLLWAKEUP and EPOLLEXCLUSIVE (Linux
	// fs/eventpoll.c:EP_PRIVATE_BITS, v6.12).
	Events uint32

	Data uint64
	Pos  int64
	Ino  uint64
	Sdev uint32 // the kernel's own form of a device number
}

// Dev returns the device of the file's superblock. The kernel keeps 20 bits
// of minor number (Linux include/linux/kdev_t.h:MINORBITS, v6.12).
func (t EpollTarget) Dev() (major, minor uint32) {
	return t.Sdev >> 20, t.Sdev & (1<<20 - 1)
}

// Epoll decodes the fdinfo of an epoll instance (Linux
// fs/eventpoll.c:ep_show_fdinfo, v6.12). The same file may be there more than
// once, under different descriptors.
func (f *FDInfo) Epoll() ([]EpollTarget, error) {
	targets := make([]EpollTarget, 0, bytes.Count(f.Rest, []byte("\n")))
	err := f.eachLine("not an epoll target", func(c *cursor) bool {
		t := c.epollTarget()
		targets = append(targets, t)
		return c.done()
	})
	return targets, err
}

// epollTarget takes a line of an epoll instance.
func (c *cursor) epollTarget() (t EpollTarget) {
	c.lit("tfd:")
	c.blanks()
	t.TFD = int(c.int())
	c.lit(" events:")
	c.blanks()
	t.Events = c.uint32(16)
	c.lit(" data:")
	c.blanks()
	t.Data = c.hex()
	c.blanks()
	c.lit("pos:")
	t.Pos = c.int()
	c.lit(" ino:")
	t.Ino = c.hex()
	c.lit(" sdev:")
	t.Sdev = c.uint32(16)
	return t
}

// Inotify is a watch of an inotify(7) instance.
type Inotify struct {
	WD         int
	Ino        uint64
	Sdev       uint32 // the kernel's own form of a device number
	Mask       uint32 // IN_*
	HandleType int    // of Handle, as in open_by_handle_at(2)
	Handle     []byte // empty where the filesystem has no file handles
}

// Inotify decodes the fdinfo of an inotify instance (Linux
// fs/notify/fdinfo.c:inotify_fdinfo, v6.12).
func (f *FDInfo) Inotify() ([]Inotify, error) {
	var watches []Inotify
	err := f.eachLine("not an inotify watch", func(c *cursor) bool {
		watches = append(watches, c.inotify())
		return c.done()
	})
	return watches, err
}

// inotify takes a line of an inotify instance.
func (c *cursor) inotify() (w Inotify) {
	c.lit("inotify wd:")
	w.WD = int(c.uint32(16))
	c.lit(" ino:")
	w.Ino = c.hex()
	c.lit(" sdev:")
	w.Sdev = c.uint32(16)
	c.lit(" mask:")
	w.Mask = c.uint32(16)
	c.lit(" ignored_mask:0 ")
	w.HandleType, w.Handle = c.handle()
	return w
}

// hexBytes takes n bytes in hexadecimal.
func (c *cursor) hexBytes(n uint32) []byte {
	if uint64(len(c.b)) < 2*uint64(n) {
		c.fail()
		return nil
	}
	out := make([]byte, n)
	for i := range out {
		pair := cursor{b: c.b[:2]}
		out[i] = byte(pair.hex())
		if !pair.done() {
			c.fail()
			return nil
		}
		c.b = c.b[2:]
	}
	return out
}
