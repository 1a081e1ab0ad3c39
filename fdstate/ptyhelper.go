package fdstate

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// PtyHelperName is the name under which this program is the helper that looks
// into ptys. Its main function must call [PtyHelper] then.
//
// What is under way in a pty cannot be looked at: it must be taken out and put
// back. Should the supervisor be killed meanwhile, it would be lost, so a
// process of its own does it, in a session of its own, which nothing but its
// end can interrupt.
const PtyHelperName = "supervise-pty"

// ptyAnswer is what the helper has found out about one pty.
type ptyAnswer struct {
	Queue     PtyQueue `cbor:"1,keyasint"`
	Exclusive bool     `cbor:"2,keyasint"`
	Status    bool     `cbor:"3,keyasint"` // in packet mode, a status byte waits to be read
	Error     string   `cbor:"4,keyasint,omitempty"`
}

// ptyQueue gives what is under way in a pty. The first question is answered
// for all, so that one helper is enough.
func (s *Survey) ptyQueue(tty *terminal) (*ptyAnswer, error) {
	if tty.queue == nil {
		if err := s.askHelper(); err != nil {
			return nil, err
		}
	}
	switch q := tty.queue; {
	case q == nil:
		return nil, errors.New("no answer about the pty")
	case q.Status:
		return nil, RefuseNow("a status byte waits to be read from it (packet mode)")
	case q.Error != "":
		return nil, errors.New(q.Error)
	}
	return tty.queue, nil
}

// askHelper asks about every pty in which something may be under way.
func (s *Survey) askHelper() error {
	var ttys []*terminal
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, tty := range s.ttys {
		if tty.master == nil {
			continue
		}
		master, slave, err := tty.sides()
		fds = append(fds, master, slave)
		if err != nil {
			return err
		}
		if master < 0 {
			continue
		}
		ttys = append(ttys, tty)
	}
	fds = slices.DeleteFunc(fds, func(fd int) bool { return fd < 0 })
	var answers []ptyAnswer
	err := RunHelper(PtyHelperName, fds, &answers)
	if err != nil || len(answers) != len(ttys) {
		return fmt.Errorf("look into ptys: %d answers for %d: %w", len(answers), len(ttys), err)
	}
	for i, tty := range ttys {
		tty.queue = &answers[i]
	}
	return nil
}

// sides are copies of both sides of a pty, the slave's being /dev/null where it
// is not open. They are -1 when nothing can be under way: the slave has never
// been open, or has hung up.
func (tty *terminal) sides() (master, slave int, err error) {
	if master, err = tty.master.Copy(); err != nil {
		return -1, -1, err
	}
	slave = -1
	skip := false
	if len(tty.slaves) > 0 {
		slave, err = tty.slaves[0].Copy()
	} else if skip, err = neverOpened(master); err == nil && !skip {
		slave, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if _, hung := unix.IoctlGetTermios(master, unix.TCGETS2); hung != nil || skip {
		unix.Close(master)
		if slave >= 0 {
			unix.Close(slave)
		}
		return -1, -1, err
	}
	return master, slave, err
}

// PtyHelper is the helper. It gives its exit code.
func PtyHelper() int {
	var answers []ptyAnswer
	for master := FirstHelperFD; ; master += 2 {
		var st unix.Stat_t
		if unix.Fstat(master, &st) != nil || unix.Major(st.Rdev) != 5 {
			break
		}
		answer, err := lookIntoPty(master, master+1)
		if err != nil {
			answer.Error = err.Error()
		}
		answers = append(answers, answer)
	}
	return AnswerAsHelper(answers)
}

// lookIntoPty finds out what is under way in one pty.
func lookIntoPty(master, slave int) (answer ptyAnswer, err error) {
	ready, err := Poll(master, unix.POLLPRI)
	if err != nil || ready&unix.POLLPRI != 0 {
		answer.Status = true
		return answer, err
	}
	mode, err := unix.IoctlGetTermios(master, unix.TCGETS2)
	if err != nil {
		return answer, fmt.Errorf("ioctl TCGETS2: %w", err)
	}
	sides := ptySides{master: master, slave: slave, mode: *mode}
	if _, err := unix.IoctlGetTermios(slave, unix.TCGETS2); err != nil {
		reopened, locked, err := reopenSlave(master)
		if err != nil {
			return answer, err
		}
		sides.slave = reopened
		answer.Queue, err = sides.exchange()
		return answer, errors.Join(err, unix.Close(reopened), lockSlave(master, locked))
	}
	if answer.Exclusive, err = askFlag(slave, unix.TIOCGEXCL, "TIOCGEXCL"); err != nil {
		return answer, err
	}
	answer.Queue, err = sides.exchange()
	return answer, err
}

// reopenSlave opens a slave that everybody has closed. When it is closed again,
// its master is as it was: it hangs up. A lock on the slave is taken away.
func reopenSlave(master int) (slave int, locked bool, err error) {
	if locked, err = askFlag(master, unix.TIOCGPTLCK, "TIOCGPTLCK"); err != nil {
		return -1, locked, err
	}
	if err := lockSlave(master, false); err != nil {
		return -1, locked, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		return -1, locked, errors.Join(fmt.Errorf("ioctl TIOCGPTPEER: %w", errno), lockSlave(master, locked))
	}
	return int(fd), locked, nil
}

func lockSlave(master int, locked bool) error {
	value := 0
	if locked {
		value = 1
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, value); err != nil {
		return fmt.Errorf("ioctl TIOCSPTLCK: %w", err)
	}
	return nil
}
