package procfs

// Timer is a timer that a process has made with timer_create(2).
type Timer struct {
	ID         int // the kernel's, which glibc hides from programs
	Signal     int
	SigevValue uint64
	Notify     string // "signal", "none" or "thread"
	NotifyTID  bool   // SIGEV_THREAD_ID: the signal goes to one thread
	Target     int    // that thread's tid, or the process's pid
	ClockID    int    // CLOCK_*; negative for CPU clocks
}

// ReadTimers reads /proc/PID/timers. The file is there only on kernels with
// CONFIG_CHECKPOINT_RESTORE.
func ReadTimers(pid int) ([]Timer, error) {
	return readFile(pidPath(pid, "timers"), parseTimers)
}

// parseTimers parses four lines for each timer (Linux
// fs/proc/base.c:show_timer, v6.12).
func parseTimers(b []byte) ([]Timer, error) {
	var timers []Timer
	var t Timer
	for n := 1; len(b) > 0; n++ {
		var line []byte
		line, b = cutLine(b)
		c := cursor{b: line}
		switch n % 4 {
		case 1:
			c.lit("ID: ")
			t.ID = int(c.int())
		case 2:
			c.lit("signal: ")
			t.Signal = int(c.int())
			c.lit("/")
			t.SigevValue = c.hex()
		case 3:
			c.timerNotify(&t)
		case 0:
			c.lit("ClockID: ")
			t.ClockID = int(c.int())
			timers = append(timers, t)
		}
		if !c.done() {
			return nil, lineError(n, line, "not a timer")
		}
		if len(b) == 0 && n%4 != 0 {
			return nil, fileError("ends inside a timer")
		}
	}
	return timers, nil
}

// timerNotify takes "notify: signal/pid.123".
func (c *cursor) timerNotify(t *Timer) {
	c.lit("notify: ")
	t.Notify = string(c.until('/'))
	switch string(c.until('.')) {
	case "tid":
		t.NotifyTID = true
	case "pid":
		t.NotifyTID = false
	default:
		c.fail()
	}
	t.Target = int(c.int())
}

// until takes the bytes up to ch, and ch itself.
func (c *cursor) until(ch byte) []byte {
	for i, b := range c.b {
		if b == ch {
			w := c.b[:i]
			c.b = c.b[i+1:]
			return w
		}
	}
	c.fail()
	return nil
}
