package fdstate

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// put puts into an empty pty what was under way, and gives it its mode.
func (p *ptySides) put(q *PtyQueue) error {
	typed := 0
	for _, line := range q.Lines {
		typed += len(line.Data) + 1
	}
	err := p.fillInput(q.Lines)
	if err == nil && len(q.Output) > 0 {
		if err = p.set(p.plain()); err == nil {
			err = writeAll(p.slave, q.Output)
		}
	}
	if err == nil {
		err = p.halt(q.Halt, typed)
	}
	if err := errors.Join(err, p.set(p.mode)); err != nil {
		return err
	}
	return writeAll(p.master, q.Later)
}

func (p *ptySides) fillInput(lines []PtyLine) error {
	if !p.canonical() {
		for _, line := range lines {
			if err := p.typeRaw(line.Data); err != nil {
				return err
			}
		}
		return nil
	}
	// Leaving canonical mode clears what a read left behind.
	mode := p.plain()
	mode.Lflag &^= unix.ICANON
	if err := p.set(mode); err != nil {
		return err
	}
	typed := 0
	for _, line := range lines {
		if err := p.typeLine(line, &typed); err != nil {
			return fmt.Errorf("input: %w", err)
		}
	}
	return p.set(p.plain())
}

// typeRaw writes input in non-canonical mode and waits until it is taken in.
func (p *ptySides) typeRaw(data []byte) error {
	if err := p.set(p.plain()); err != nil {
		return err
	}
	if err := writeAll(p.master, data); err != nil {
		return err
	}
	return until("input", func() (bool, error) {
		n, err := p.taken(p.slave)
		return n >= len(data), err
	})
}

// typeLine writes a line in small pieces. For each it chooses characters that
// are not in it to end a line, and to stop and start output: when output has
// stopped, all before the stop character has been processed.
func (p *ptySides) typeLine(line PtyLine, typed *int) error {
	for rest := line.Data; ; {
		piece := rest[:min(len(rest), 128)]
		rest = rest[len(piece):]
		special := absent(piece)
		mode := p.plain()
		mode.Iflag = unix.IXON
		mode.Cc[unix.VEOF], mode.Cc[unix.VSTOP], mode.Cc[unix.VSTART] = special[0], special[1], special[2]
		if err := p.set(mode); err != nil {
			return err
		}
		end := len(rest) == 0 && line.Done && !bytes.HasSuffix(piece, []byte{'\n'})
		if end {
			piece = append(bytes.Clone(piece), special[0])
		}
		if err := writeAll(p.master, piece); err != nil {
			return err
		}
		if *typed += len(piece); *typed > ptyRoom-2 {
			time.Sleep(10 * time.Millisecond) // there is no room for a stop character
		} else if err := p.sync(special[1], special[2]); err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
	}
}

// sync types a character that stops output and one that starts it, and waits
// for both.
func (p *ptySides) sync(stop, start byte) error {
	for _, want := range []bool{false, true} {
		char := stop
		if want {
			char = start
		}
		if err := writeAll(p.master, []byte{char}); err != nil {
			return err
		}
		err := until("processing of input", func() (bool, error) {
			runs, err := p.runs()
			return runs == want, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// absent chooses three characters that a short text does not have.
func absent(text []byte) (out [3]byte) {
	n := 0
	for c := byte(1); n < len(out); c++ {
		if c != '\n' && !bytes.Contains(text, []byte{c}) {
			out[n] = c
			n++
		}
	}
	return out
}

// halt stops output as it was. When there is no room for a stop character, or
// no way to see that it has been processed, tcflow must do.
func (p *ptySides) halt(how PtyHalt, typed int) error {
	if how == ptyRuns {
		return nil
	}
	runs, err := p.runs()
	if err != nil {
		return err
	}
	if how == ptyTyped && runs && typed < ptyRoom-2 {
		mode := p.plain()
		mode.Iflag, mode.Cc[unix.VSTOP] = unix.IXON, 1
		if err := p.set(mode); err != nil {
			return err
		}
		if err := writeAll(p.master, []byte{1}); err != nil {
			return err
		}
		return until("stop of output", func() (bool, error) {
			runs, err := p.runs()
			return !runs, err
		})
	}
	if err := unix.IoctlSetInt(p.slave, unix.TCXONC, unix.TCOOFF); err != nil {
		return fmt.Errorf("ioctl TCXONC: %w", err)
	}
	return nil
}

// writeAll writes to one side so that the buffers behind it hold as much as
// they ever can: small ones, with room for two pieces each, up to the limit,
// and then a last one that is as large as they come, since the limit is looked
// at before a buffer is added (Linux drivers/tty/tty_buffer.c:tty_buffer_alloc,
// __tty_buffer_request_room, v6.12). The first piece is a byte shorter, so that
// what the line discipline takes in ends with a buffer.
func writeAll(fd int, data []byte) error {
	const small, large = 256, 1792 // MIN_TTYB_SIZE and TTY_BUFFER_PAGE there
	piece := small - 1
	for len(data) > 0 {
		if len(data) <= 2*large && len(data) > small {
			piece = large
		}
		err := until("room to write", func() (bool, error) {
			n, err := unix.Write(fd, data[:min(len(data), piece)])
			if errors.Is(err, unix.EAGAIN) {
				return false, nil
			}
			data = data[max(n, 0):]
			return true, err
		})
		if err != nil {
			return fmt.Errorf("write of the last %d bytes: %w", len(data), err)
		}
		piece = small
	}
	return nil
}
