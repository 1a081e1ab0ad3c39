package fdstate

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/task"
)

// PtyQueue is what is under way between the two sides of a pty.
type PtyQueue struct {
	Lines  []PtyLine `cbor:"1,keyasint,omitempty" json:"lines,omitempty"`  // taken in by the slave, to be read from it
	Later  []byte    `cbor:"2,keyasint,omitempty" json:"later,omitempty"`  // written to the master, and not taken in yet
	Output []byte    `cbor:"3,keyasint,omitempty" json:"output,omitempty"` // written to the slave, to be read from the master
	Halt   PtyHalt   `cbor:"4,keyasint,omitempty" json:"halt,omitempty"`
}

// PtyLine is a piece of input.
type PtyLine struct {
	Data []byte `cbor:"1,keyasint,omitempty" json:"data,omitempty"`

	// Done: one read(2) returns just this, since a newline or another end of
	// line was typed, which is part of Data, or the end-of-file character,
	// which is not. Input that is not Done is half a line or, in
	// non-canonical mode, all there is.
	Done bool `cbor:"2,keyasint,omitempty" json:"done,omitempty"`
}

// PtyHalt says what has stopped the output of a terminal. In images: never
// renumber.
type PtyHalt uint8

const (
	ptyRuns   PtyHalt = 0
	ptyTyped  PtyHalt = 1 // the stop character was typed
	ptyHalted PtyHalt = 2 // tcflow(3) with TCOOFF
)

// The line discipline has room for so much input (Linux
// drivers/tty/n_tty.c:N_TTY_BUF_SIZE, v6.12).
const ptyRoom = 4095

// ptySides are descriptors of both sides of a pty, and how it is set.
type ptySides struct {
	master, slave int
	mode          unix.Termios // of the program
}

// exchange takes out everything that is under way and puts it back. While it
// runs, nobody else may use the pty.
func (p *ptySides) exchange() (q PtyQueue, err error) {
	err = p.withFlags(func() error {
		err := p.drain(&q)
		return errors.Join(err, p.put(&q)) // what has been taken out goes back in any case
	})
	return q, err
}

// fill puts into an empty pty what was under way in another.
func (p *ptySides) fill(q *PtyQueue) error {
	return p.withFlags(func() error { return p.put(q) })
}

// withFlags runs fn while no read or write waits, and packet mode, in which
// changes of the terminal's mode are told to the master, is off.
func (p *ptySides) withFlags(fn func() error) error {
	packet, err := unix.IoctlGetInt(p.master, unix.TIOCGPKT)
	if err != nil {
		return fmt.Errorf("ioctl TIOCGPKT: %w", err)
	}
	if err := unix.IoctlSetPointerInt(p.master, unix.TIOCPKT, 0); err != nil {
		return fmt.Errorf("ioctl TIOCPKT: %w", err)
	}
	for _, fd := range []int{p.master, p.slave} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return fmt.Errorf("fcntl F_GETFL: %w", err)
		}
		defer unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK); err != nil {
			return fmt.Errorf("fcntl F_SETFL: %w", err)
		}
	}
	err = fn()
	if packet != 0 {
		err = errors.Join(err, unix.IoctlSetPointerInt(p.master, unix.TIOCPKT, 1))
	}
	return err
}

// drain takes everything out. Input comes first: reading it may make room for
// more, whose echo is output.
func (p *ptySides) drain(q *PtyQueue) error {
	if err := p.set(p.mode); err != nil {
		return err
	}
	input := p.drainRaw
	if p.canonical() {
		input = p.drainLines
	}
	if err := input(q); err != nil {
		return fmt.Errorf("input: %w", err)
	}
	var err error
	if q.Output, err = readAll(p.master); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	q.Halt, err = p.restart()
	return err
}

// canonical tells whether input is lines. With EXTPROC, whoever is at the
// master makes the lines.
func (p *ptySides) canonical() bool {
	return p.mode.Lflag&unix.ICANON != 0 && p.mode.Lflag&unix.EXTPROC == 0
}

// drainRaw takes out input in non-canonical mode. More than has been taken in
// is there only when there was no room for it; that is still to be processed.
func (p *ptySides) drainRaw(q *PtyQueue) error {
	n, err := p.taken(p.slave)
	if err != nil {
		return err
	}
	if err := p.set(p.plain()); err != nil {
		return err
	}
	data, err := readAll(p.slave)
	n = min(n, len(data))
	if n < ptyRoom {
		n = len(data)
	}
	if n > 0 {
		q.Lines = []PtyLine{{Data: data[:n]}}
	}
	if n < len(data) {
		q.Later = data[n:]
	}
	return err
}

// taken is how many bytes can be read. poll(2) makes the kernel finish what it
// does in the background, as long as there is nothing to read (Linux
// drivers/tty/n_tty.c:n_tty_poll, v6.12).
func (p *ptySides) taken(fd int) (int, error) {
	if _, err := Poll(fd, unix.POLLIN); err != nil {
		return 0, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return 0, fmt.Errorf("ioctl TIOCINQ: %w", err)
	}
	return n, nil
}

// drainLines takes out lines, and then the half line behind them. That shows
// only when the mode is not canonical for a moment, and a change of the mode
// would make it a whole line if it stayed (Linux
// drivers/tty/n_tty.c:n_tty_set_termios, v6.12).
func (p *ptySides) drainLines(q *PtyQueue) error {
	buf := make([]byte, ptyRoom+1)
	for {
		ready, err := Poll(p.slave, unix.POLLIN)
		if err != nil {
			return err
		}
		if ready&unix.POLLIN == 0 {
			break
		}
		n, err := unix.Read(p.slave, buf)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		q.Lines = append(q.Lines, PtyLine{Data: append([]byte(nil), buf[:n]...), Done: true})
	}
	mode := p.plain()
	mode.Lflag &^= unix.ICANON
	if err := p.set(mode); err != nil {
		return err
	}
	half, err := readAll(p.slave)
	if len(half) > 0 {
		q.Lines = append(q.Lines, PtyLine{Data: half})
	}
	return err
}

// readAll reads until there is nothing left.
func readAll(fd int) ([]byte, error) {
	var data []byte
	buf := make([]byte, 64<<10)
	for {
		ready, err := Poll(fd, unix.POLLIN)
		if err != nil || ready&unix.POLLIN == 0 {
			return data, err
		}
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EIO) {
			return data, nil // the other side is closed
		}
		if err != nil {
			return data, fmt.Errorf("read: %w", err)
		}
		data = append(data, buf[:n]...)
	}
}

// restart lets stopped output go on, and tells what had stopped it. With
// nothing in the way, a slave takes output unless it is stopped. Clearing IXON
// undoes a stop character only (Linux drivers/tty/n_tty.c:n_tty_set_termios,
// drivers/tty/tty_io.c:__start_tty, v6.12).
func (p *ptySides) restart() (PtyHalt, error) {
	if runs, err := p.runs(); err != nil || runs {
		return ptyRuns, err
	}
	mode := p.plain()
	mode.Iflag |= unix.IXON
	if err := p.set(mode); err != nil {
		return ptyRuns, err
	}
	mode.Iflag &^= unix.IXON
	if err := p.set(mode); err != nil {
		return ptyRuns, err
	}
	if runs, err := p.runs(); err != nil || runs {
		return ptyTyped, err
	}
	if err := unix.IoctlSetInt(p.slave, unix.TCXONC, unix.TCOON); err != nil {
		return ptyRuns, fmt.Errorf("ioctl TCXONC: %w", err)
	}
	return ptyHalted, nil
}

func (p *ptySides) runs() (bool, error) {
	ready, err := Poll(p.slave, unix.POLLOUT)
	return ready&unix.POLLOUT != 0, err
}

// plain is a mode in which nothing is changed, echoed, or special, canonical
// or not as the program's is. IXON stays: to clear it lets stopped output go on.
func (p *ptySides) plain() unix.Termios {
	mode := p.mode
	mode.Iflag &= unix.IXON
	mode.Oflag = 0
	mode.Lflag &= unix.ICANON | unix.EXTPROC
	clear(mode.Cc[:]) // 0 switches a character off
	mode.Cc[unix.VMIN] = 1
	return mode
}

func (p *ptySides) set(mode unix.Termios) error {
	if err := unix.IoctlSetTermios(p.slave, unix.TCSETS2, &mode); err != nil {
		return fmt.Errorf("ioctl TCSETS2: %w", err)
	}
	return nil
}

// ptyPatience is how long the kernel may take to process a few bytes.
const ptyPatience = 2 * time.Second

// until waits for the kernel.
func until(what string, fn func() (bool, error)) error {
	for deadline := time.Now().Add(ptyPatience); ; task.Nap(20 * time.Microsecond) {
		done, err := fn()
		if err != nil || done {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w", what, unix.ETIMEDOUT)
		}
	}
}
