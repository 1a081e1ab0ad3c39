package fdstate

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Pty is the image record of a description of a pseudoterminal whose master
// is in the tree.
type Pty struct {
	Index  int     `cbor:"1,keyasint,omitempty" json:"index"` // of /dev/pts/INDEX
	Master *Master `cbor:"2,keyasint,omitempty" json:"master,omitempty"`

	// Control: it was opened as /dev/tty, and /proc/PID/fd says so. That takes
	// a process that has the pty as its controlling terminal, so a description
	// that several processes share comes back as /dev/pts/INDEX.
	Control bool `cbor:"3,keyasint,omitempty" json:"control,omitempty"`
}

// Master is what the master's record has, for both sides.
type Master struct {
	Terminal  Terminal `cbor:"1,keyasint" json:"terminal"`
	Locked    bool     `cbor:"2,keyasint,omitempty" json:"locked,omitempty"`
	Packet    bool     `cbor:"3,keyasint,omitempty" json:"packet,omitempty"`
	Exclusive bool     `cbor:"4,keyasint,omitempty" json:"exclusive,omitempty"` // the slave
	Unopened  bool     `cbor:"5,keyasint,omitempty" json:"unopened,omitempty"`  // the slave has never been open

	Queue PtyQueue `cbor:"6,keyasint,omitzero" json:"queue,omitzero"`
}

func isPty(d *Desc) bool { return d.tty != nil && d.tty.master != nil }

func capturePty(d *Desc, s *Survey) (Record, error) {
	tty := d.tty
	rec := &Pty{Index: int(unix.Minor(tty.rdev)), Control: d.Link == ttyPath}
	if isMaster(d) && tty.master != d {
		return nil, Refuse("two masters have the same pty", "")
	}
	if tty.master != d {
		return rec, nil
	}
	err := d.look(func(fd int) (err error) {
		rec.Master, err = s.captureMaster(fd, tty)
		return err
	})
	return rec, err
}

func (s *Survey) captureMaster(fd int, tty *terminal) (*Master, error) {
	t, err := readTerminal(fd, ptsMajor, unix.Minor(tty.rdev))
	if err != nil {
		return nil, err
	}
	m := &Master{Terminal: *t}
	if m.Locked, err = askFlag(fd, unix.TIOCGPTLCK, "TIOCGPTLCK"); err != nil {
		return nil, err
	}
	if m.Packet, err = askFlag(fd, unix.TIOCGPKT, "TIOCGPKT"); err != nil {
		return nil, err
	}
	if len(tty.slaves) == 0 {
		if m.Unopened, err = neverOpened(fd); err != nil || m.Unopened {
			return m, err
		}
	}
	if t.Termios == nil {
		return m, nil
	}
	q, err := s.ptyQueue(tty)
	if err != nil {
		return nil, err
	}
	m.Queue, m.Exclusive = q.Queue, q.Exclusive
	return m, nil
}

// askFlag asks a terminal for one of its flags.
func askFlag(fd int, req uint, name string) (bool, error) {
	n, err := unix.IoctlGetInt(fd, req)
	if err != nil {
		return false, fmt.Errorf("ioctl %s: %w", name, err)
	}
	return n != 0, nil
}

// neverOpened tells a slave that was never open from one that was closed: only
// the latter makes the master hang up (Linux drivers/tty/pty.c:pty_close,
// v6.12).
func neverOpened(fd int) (bool, error) {
	ready, err := Poll(fd, 0)
	return ready&unix.POLLHUP == 0, err
}

// ptyPair are reserved numbers at which a pty is open until CloseRest.
type ptyPair struct{ master, slave int }

// IndexError says that the number of a pty is in use.
type IndexError struct{ Index int }

func (e *IndexError) Error() string {
	return fmt.Sprintf("/dev/pts/%d is in use on this host", e.Index)
}

// own tells that a process opens the description itself, unless it shares it.
func (rec *Pty) own(*Restorer) bool { return rec.Control }

// ttyPath leads to the controlling terminal of who opens it (man 4 tty).
const ttyPath = "/dev/tty"

// Restore opens the pair when it comes to the first of its descriptions. The
// master's is a copy of the reserved one, slaves are opened each.
func (rec *Pty) Restore(o *Opener, f *File, at Slot) error {
	pair, ok := o.r.ptys[rec.Index]
	if !ok {
		var err error
		if pair, err = o.openPty(rec.Index); err != nil {
			return err
		}
		o.r.ptys[rec.Index] = pair
	}
	if rec.Master != nil {
		o.Dup(pair.master, at)
		return nil
	}
	if rec.Control && !o.shared {
		o.OpenPath(at, "open", ttyPath, f.Flags|unix.O_NOCTTY)
		return nil
	}
	flags := openFlags(f.Flags) | unix.O_NOCTTY | unix.O_NONBLOCK // not O_CLOEXEC: see askCloseOnExec
	o.Open(at, "ioctl TIOCGPTPEER", unix.SYS_IOCTL, pair.master, unix.TIOCGPTPEER, flags)
	return nil
}

// Check is for records out of an image. The kernel has no more than 2^20 ptys
// (Linux include/linux/tty.h:NR_UNIX98_PTY_MAX).
func (rec *Pty) Check(*State) error {
	if rec.Index < 0 || rec.Index >= 1<<20 {
		return fmt.Errorf("no pty has number %d", rec.Index)
	}
	return nil
}

// openPty opens a pair and gives it the settings in its master's record.
func (o *Opener) openPty(index int) (ptyPair, error) {
	m := o.r.masterOf(index)
	if m == nil {
		return ptyPair{}, fmt.Errorf("no master of /dev/pts/%d in the image", index)
	}
	master, err := o.openMaster(index)
	pair := ptyPair{master: master, slave: -1}
	if err != nil {
		return pair, err
	}
	o.Call("ioctl TIOCSPTLCK", unix.SYS_IOCTL, master, unix.TIOCSPTLCK, flagBytes(false))
	m.Terminal.set(o, master)
	o.Call("ioctl TIOCPKT", unix.SYS_IOCTL, master, unix.TIOCPKT, flagBytes(m.Packet))
	if !m.Unopened {
		pair.slave = o.r.Reserve()
		o.Open(Slot{pair.slave, true}, "ioctl TIOCGPTPEER", unix.SYS_IOCTL, master, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	}
	if pair.slave >= 0 && m.Terminal.Termios != nil {
		o.Then(func() error { return m.fill(o, pair) })
	}
	o.Last(func(o *Opener) error { m.close(o, pair); return nil })
	return pair, nil
}

// fill gives the pty what was under way in it.
func (m *Master) fill(o *Opener, pair ptyPair) error {
	sides := ptySides{mode: m.Terminal.Termios.termios()}
	for _, side := range []struct {
		num int
		fd  *int
	}{{pair.master, &sides.master}, {pair.slave, &sides.slave}} {
		fd, err := o.Copy(side.num)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		*side.fd = fd
	}
	return sides.fill(&m.Queue)
}

// close queues what would keep the slave from being opened again.
func (m *Master) close(o *Opener, pair ptyPair) {
	if m.Exclusive && pair.slave >= 0 {
		o.Call("ioctl TIOCEXCL", unix.SYS_IOCTL, pair.slave, unix.TIOCEXCL)
	}
	if m.Locked {
		o.Call("ioctl TIOCSPTLCK", unix.SYS_IOCTL, pair.master, unix.TIOCSPTLCK, flagBytes(true))
	}
}

func (r *Restorer) masterOf(index int) *Master {
	for _, rec := range r.records {
		if pty, ok := rec.(*Pty); ok && pty.Index == index && pty.Master != nil {
			return pty.Master
		}
	}
	return nil
}

// openMaster opens masters until one has the index. The kernel gives out the
// lowest free one; those before it are closed again.
func (o *Opener) openMaster(index int) (int, error) {
	var others []int
	for {
		num := o.r.Reserve()
		buf := make([]byte, 4)
		o.OpenPath(Slot{num, true}, "open", "/dev/ptmx", unix.O_RDWR)
		o.Call("ioctl TIOCGPTN", unix.SYS_IOCTL, num, unix.TIOCGPTN, buf)
		if err := o.Run(); err != nil {
			return -1, err
		}
		got := int(binary.LittleEndian.Uint32(buf))
		if got >= index {
			for _, other := range others {
				o.Call("close", unix.SYS_CLOSE, other)
			}
			if got > index {
				return -1, &IndexError{Index: index}
			}
			return num, o.Run()
		}
		others = append(others, num)
	}
}

// flagBytes is an int that an ioctl takes by pointer.
func flagBytes(on bool) []byte {
	if on {
		return []byte{1, 0, 0, 0}
	}
	return make([]byte, 4)
}
