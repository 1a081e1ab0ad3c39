package fdstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
	"supervise/internal/task"
)

// Terminal is the image record of a terminal's settings. They belong to the
// device, whatever description it is reached through.
type Terminal struct {
	Major   uint32   `cbor:"1,keyasint" json:"major"`
	Minor   uint32   `cbor:"2,keyasint" json:"minor"`
	Termios *Termios `cbor:"3,keyasint,omitempty" json:"termios,omitempty"` // nil once it has hung up
	Winsize Winsize  `cbor:"4,keyasint" json:"winsize"`
}

// Termios is struct termios2 (Linux include/uapi/asm-generic/termbits.h).
type Termios struct {
	Iflag  uint32   `cbor:"1,keyasint" json:"iflag"`
	Oflag  uint32   `cbor:"2,keyasint" json:"oflag"`
	Cflag  uint32   `cbor:"3,keyasint" json:"cflag"`
	Lflag  uint32   `cbor:"4,keyasint" json:"lflag"`
	Line   uint8    `cbor:"5,keyasint" json:"line"`
	Cc     [19]byte `cbor:"6,keyasint" json:"cc"`
	Ispeed uint32   `cbor:"7,keyasint" json:"ispeed"`
	Ospeed uint32   `cbor:"8,keyasint" json:"ospeed"`
}

// Winsize is struct winsize (man 2 ioctl_tty).
type Winsize struct {
	Row    uint16 `cbor:"1,keyasint" json:"row"`
	Col    uint16 `cbor:"2,keyasint" json:"col"`
	Xpixel uint16 `cbor:"3,keyasint" json:"xpixel"`
	Ypixel uint16 `cbor:"4,keyasint" json:"ypixel"`
}

// TTYNr is the terminal's number as /proc/PID/stat prints it (Linux
// include/linux/kdev_t.h:new_encode_dev).
func (t *Terminal) TTYNr() int {
	return int(t.Minor&0xff | t.Major<<8 | t.Minor&^0xff<<12)
}

// bytes is the struct as the kernel has it.
func (t *Termios) bytes() []byte {
	b, err := binary.Append(nil, binary.LittleEndian, t)
	if err != nil {
		panic(err) // it has fixed-size fields only
	}
	return b
}

// termios is the same for our own calls.
func (t *Termios) termios() unix.Termios {
	return unix.Termios{Iflag: t.Iflag, Oflag: t.Oflag, Cflag: t.Cflag, Lflag: t.Lflag, Line: t.Line, Cc: t.Cc, Ispeed: t.Ispeed, Ospeed: t.Ospeed}
}

func (w Winsize) bytes() []byte {
	b := binary.LittleEndian.AppendUint16(nil, w.Row)
	b = binary.LittleEndian.AppendUint16(b, w.Col)
	b = binary.LittleEndian.AppendUint16(b, w.Xpixel)
	return binary.LittleEndian.AppendUint16(b, w.Ypixel)
}

// readTerminal reads the settings through our copy. Through a pty's master it
// reads those of the slave (Linux drivers/tty/tty_ioctl.c:tty_mode_ioctl,
// v6.12). A terminal that has hung up has none.
func readTerminal(fd int, major, minor uint32) (*Terminal, error) {
	t := &Terminal{Major: major, Minor: minor}
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if errors.Is(err, unix.EIO) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ioctl TCGETS2: %w", err)
	}
	t.Termios = &Termios{mode.Iflag, mode.Oflag, mode.Cflag, mode.Lflag, mode.Line, mode.Cc, mode.Ispeed, mode.Ospeed}
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return nil, fmt.Errorf("ioctl TIOCGWINSZ: %w", err)
	}
	t.Winsize = Winsize{size.Row, size.Col, size.Xpixel, size.Ypixel}
	return t, nil
}

// set queues the calls that give a terminal these settings.
func (t *Terminal) set(o *Opener, num int) {
	if t.Termios != nil {
		o.Call("ioctl TCSETS2", unix.SYS_IOCTL, num, unix.TCSETS2, t.Termios.bytes())
		o.Call("ioctl TIOCSWINSZ", unix.SYS_IOCTL, num, unix.TIOCSWINSZ, t.Winsize.bytes())
	}
}

// ptsMajor is the major device number of the slaves of ptys.
const ptsMajor = 136

// ttyName tells terminals apart: every devpts has its own 136:0.
type ttyName struct {
	rdev   uint64
	devpts uint64 // device of that file system; 0 for other terminals
	hungUp *Desc  // a description that has hung up is no terminal's any more: its number may be another's
}

// terminal is what the tree has of one.
type terminal struct {
	rdev   uint64
	master *Desc
	slaves []*Desc
	queue  *ptyAnswer // nil until asked for
	hungUp bool
}

// isTerminal matches terminals and masters of ptys.
func isTerminal(d *Desc) bool {
	if d.mode() != unix.S_IFCHR || isPathOnly(d) {
		return false
	}
	switch major := unix.Major(d.Stat.Rdev); major {
	case 4, 5, 166, 188, 204, 229: // tty, /dev/tty and console, USB, serial, hvc
		return true
	default:
		return major >= ptsMajor && major < ptsMajor+8
	}
}

// isControlling matches descriptions opened by the name /dev/tty.
func isControlling(d *Desc) bool { return d.Stat.Rdev == unix.Mkdev(5, 0) }

func isMaster(d *Desc) bool { return d.Stat.Rdev == unix.Mkdev(5, 2) }

func isForeignTerminal(d *Desc) bool { return d.tty != nil && d.tty.master == nil && d.outside == nil }

func isHungUp(d *Desc) bool { return isForeignTerminal(d) && d.tty.hungUp }

// surveyTerminals finds which descriptions are the same terminal, and which
// terminals lead outside. What was opened as /dev/tty tells its number but not
// its devpts, so it comes last.
func (s *Survey) surveyTerminals() error {
	for _, byName := range []bool{false, true} {
		for _, d := range s.Descs {
			if !isTerminal(d) || isControlling(d) != byName {
				continue
			}
			if err := d.look(func(fd int) error { return s.addTerminal(d, fd) }); err != nil {
				return s.explain(d.Proc, fmt.Errorf("%s of pid %d: %w", d.What(), d.PID, err))
			}
		}
	}
	for _, tty := range s.ttys {
		if tty.master == nil {
			if err := s.leadOutside(tty); err != nil {
				return err
			}
		}
	}
	return nil
}

// addTerminal sorts one description in.
func (s *Survey) addTerminal(d *Desc, fd int) error {
	if isMaster(d) {
		index, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
		if err != nil {
			return fmt.Errorf("ioctl TIOCGPTN: %w", err)
		}
		d.tty = s.terminal(ttyName{rdev: unix.Mkdev(ptsMajor, index), devpts: d.devpts()})
		d.tty.master = d
		return nil
	}
	name := ttyName{rdev: d.Stat.Rdev}
	dev, err := unix.IoctlGetUint32(fd, unix.TIOCGDEV)
	if errors.Is(err, unix.EIO) {
		name.hungUp = d
	} else if err == nil {
		name.rdev = uint64(dev)
	}
	if name.hungUp != nil {
		s.terminal(name).hungUp = true
	} else if isControlling(d) {
		name = s.sameNumber(name)
	} else if unix.Major(d.Stat.Rdev) >= ptsMajor {
		name.devpts = d.Stat.Dev
	}
	d.tty = s.terminal(name)
	d.tty.slaves = append(d.tty.slaves, d)
	return s.askCloseOnExec(d, fd)
}

// askCloseOnExec corrects what fdinfo says about close-on-exec. It adds
// O_CLOEXEC to the flags of the description, but those of a slave opened by
// TIOCGPTPEER have it for ever if that call was given it (Linux
// fs/proc/fd.c:seq_show, drivers/tty/pty.c:ptm_open_peer, v6.12).
func (s *Survey) askCloseOnExec(d *Desc, fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_CLOEXEC == 0 {
		return err
	}
	for _, u := range d.Users {
		own, err := s.Procs[u.Proc].call(unix.SYS_FCNTL, u.Num, unix.F_GETFD)
		if err != nil {
			return err
		}
		s.entry(u.Proc, u.Num).closeOnExec = own&unix.FD_CLOEXEC != 0
	}
	return nil
}

// sameNumber gives the name of a terminal with that number that is known
// already, one whose master is in the tree if there is one.
func (s *Survey) sameNumber(name ttyName) ttyName {
	found := name
	for other, tty := range s.ttys {
		if other.rdev == name.rdev && (tty.master != nil || found == name) {
			found = other
		}
	}
	return found
}

func (s *Survey) terminal(name ttyName) *terminal {
	tty := s.ttys[name]
	if tty == nil {
		tty = &terminal{rdev: name.rdev}
		s.ttys[name] = tty
	}
	return tty
}

// devpts is the file system in which a master makes its slave: the one it was
// opened on, or the one mounted at pts beside it (Linux
// fs/devpts/inode.c:devpts_mntget, v6.12).
func (d *Desc) devpts() uint64 {
	dir := path.Dir(d.Link)
	if !strings.HasSuffix(dir, "/pts") {
		dir = path.Join(dir, "pts")
	}
	var st unix.Stat_t
	if err := unix.Stat(d.inTree(dir), &st); err != nil {
		return 0
	}
	return st.Dev
}

// leadOutside records a terminal whose other side is not in the tree.
func (s *Survey) leadOutside(tty *terminal) error {
	d := tty.slaves[0]
	return d.look(func(fd int) error {
		rec, err := readTerminal(fd, unix.Major(tty.rdev), unix.Minor(tty.rdev))
		if err != nil {
			return s.explain(d.Proc, fmt.Errorf("%s of pid %d: %w", d.What(), d.PID, err))
		}
		s.markOutside(tty.slaves, rec)
		return nil
	})
}

// controls tells whether a terminal is the controlling one of a process that
// has the description.
func (s *Survey) controls(d *Desc, tty *Terminal) bool {
	return slices.ContainsFunc(d.Users, func(u User) bool {
		st, err := procfs.ReadStat(int(s.pid(u.Proc)))
		return err == nil && st.TTYNr == tty.TTYNr()
	})
}

// OpenTerminal is a terminal while the tree is being restarted.
type OpenTerminal struct {
	Terminal
	Inside bool // its master is in the tree; its settings are in place

	// Number is a reserved number at which the builder and all its
	// descendants have it open; -1 if restart has no terminal to take its place.
	Number int
}

// Terminals lists the terminals of the tree. The caller gives sessions and
// foreground groups back, and sets those that are not Inside (SetTerminal).
//
// Preconditions:
//   - OpenShared has run.
func (r *Restorer) Terminals() []OpenTerminal {
	var list []OpenTerminal
	for _, rec := range r.records {
		t := OpenTerminal{Number: -1}
		switch rec := rec.(type) {
		case *Outside:
			if rec.Terminal == nil {
				continue
			}
			t.Terminal = *rec.Terminal
			if std := r.outsideTTY(rec); std >= 0 {
				t.Number = r.std[std]
			}
		case *Pty:
			if rec.Master == nil {
				continue
			}
			t.Terminal, t.Inside = rec.Master.Terminal, true
			t.Number = r.ptys[rec.Index].slave
		default:
			continue
		}
		if !slices.ContainsFunc(list, func(o OpenTerminal) bool { return o.TTYNr() == t.TTYNr() && o.Inside == t.Inside }) {
			list = append(list, t)
		}
	}
	return list
}

// outsideTTY chooses a terminal among restart's own for one outside, or -1.
func (r *Restorer) outsideTTY(rec *Outside) int {
	for _, std := range append(slices.Clone(rec.Std), rec.Like, 0, 1, 2) {
		if std >= 0 && r.stdTTY[std] {
			return std
		}
	}
	return -1
}

// SetTerminal gives a terminal that process p has open as num the settings t.
// p must be in its foreground group, or in another session, or have SIGTTOU
// blocked: the kernel would stop it otherwise.
func SetTerminal(p *task.Process, num int, t *Terminal) error {
	o := &Opener{Proc: p}
	t.set(o, num)
	return o.Run()
}

// findTerminals tells which of restart's own stdin, stdout and stderr are
// terminals.
func (r *Restorer) findTerminals(o *Opener) error {
	var calls [3]*task.Call
	var b task.Batch
	for i, num := range r.std {
		calls[i] = b.Add(unix.SYS_IOCTL, num, unix.TCGETS, make([]byte, 64)).Optional()
	}
	if err := o.Proc.Run(&b); err != nil {
		return err
	}
	for i, c := range calls {
		r.stdTTY[i] = c.Err() == nil
	}
	return nil
}
