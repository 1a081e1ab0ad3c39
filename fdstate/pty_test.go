package fdstate

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// openPty gives a master and its unlocked slave.
func openPty() (master, slave int) {
	master = must(unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0))
	check(unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0))
	index := must(unix.IoctlGetUint32(master, unix.TIOCGPTN))
	return master, must(unix.Open(fmt.Sprintf("/dev/pts/%d", index), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0))
}

func init() {
	subjects["ptys"] = func(dir string) {
		other, otherSlave := openPty() // so that the first index is not the lowest
		master, slave := openPty()
		put(slave, 11, 0)
		put(master, 10, 0)
		check(unix.Close(other))
		check(unix.Close(otherSlave))
		mode := must(unix.IoctlGetTermios(11, unix.TCGETS2))
		mode.Lflag &^= unix.ECHO | unix.ICANON
		mode.Cc[unix.VMIN] = 7
		check(unix.IoctlSetTermios(11, unix.TCSETS2, mode))
		check(unix.IoctlSetWinsize(11, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 99, Xpixel: 5, Ypixel: 6}))
		check(unix.IoctlSetPointerInt(10, unix.TIOCPKT, 1))
		put(must(unix.Open(must(os.Readlink("/proc/self/fd/11")), unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)), 12, 0)

		// A slave that keeps O_CLOEXEC in its flags, with and without it.
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, 10, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			panic(errno)
		}
		put(int(r), 13, 0)
		check(unix.Dup3(13, 14, unix.O_CLOEXEC))

		closed, closedSlave := openPty()
		put(closed, 20, 0)
		check(unix.Close(closedSlave))
		fresh := must(unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0))
		put(fresh, 21, 0)
	}
}

func TestPtys(t *testing.T) {
	for _, uid := range []int{0, nobody} {
		err := restorePtys(t, uid)
		for range 20 { // another program may be quicker to take the number of a pty
			var taken *IndexError
			if !errors.As(err, &taken) {
				break
			}
			err = restorePtys(t, uid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func restorePtys(t *testing.T, uid int) error {
	t.Helper()
	s := startSubject(t, "ptys", uid)
	snap := s.capture(t)
	if len(snap.refused) > 0 {
		t.Fatalf("refused: %v", snap.refused)
	}
	err := s.restore(t, snap, func(*restored) error { return nil })
	var taken *IndexError
	if !errors.As(err, &taken) || !strings.Contains(err.Error(), "/dev/pts/") {
		t.Errorf("while the subject has the ptys: %v", err)
	}
	s.kill()
	return s.restore(t, snap, func(b *restored) error { return comparePtys(t, snap, b) })
}

func comparePtys(t *testing.T, snap *snapshot, b *restored) error {
	t.Helper()
	p := b.procs[0]
	want := snap.tables[0]
	want[13] = strings.Replace(want[13], "02000002", "02", 1)
	compareTables(t, want, describeTable(p.PID), 0)
	for _, fd := range snap.state.Tables[0] {
		if fd.Num > 9 && fd.CloseOnExec != (fd.Num == 14) {
			t.Errorf("fd %d: close-on-exec %v", fd.Num, fd.CloseOnExec)
		}
	}
	master := must((&Opener{Proc: p}).Copy(10))
	defer unix.Close(master)
	mode := must(unix.IoctlGetTermios(master, unix.TCGETS2))
	size := must(unix.IoctlGetWinsize(master, unix.TIOCGWINSZ))
	packet := must(unix.IoctlGetInt(master, unix.TIOCGPKT))
	if mode.Lflag&(unix.ECHO|unix.ICANON) != 0 || mode.Cc[unix.VMIN] != 7 || *size != (unix.Winsize{Row: 33, Col: 99, Xpixel: 5, Ypixel: 6}) || packet != 1 {
		t.Errorf("mode %+v, size %+v, packet %d", mode, size, packet)
	}
	for num, want := range map[int]int16{20: unix.POLLHUP, 21: 0, 10: 0} {
		if got := b.poll(num); got&unix.POLLHUP != want {
			t.Errorf("fd %d polls %#x, not %#x", num, got, want)
		}
		fd := must((&Opener{Proc: p}).Copy(num))
		locked := must(unix.IoctlGetInt(fd, unix.TIOCGPTLCK))
		if (locked != 0) != (num == 21) {
			t.Errorf("fd %d: locked %d", num, locked)
		}
		unix.Close(fd)
	}
	if list := b.r.Terminals(); len(list) != 3 || !list[0].Inside || list[0].Major != ptsMajor {
		t.Errorf("terminals %+v", list)
	}
	return nil
}

func init() {
	subjects["on a terminal"] = func(dir string) {
		put(must(unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0)), 255, unix.O_CLOEXEC)
		put(must(unix.Open(must(os.Readlink("/proc/self/fd/0")), unix.O_RDONLY|unix.O_NOCTTY, 0)), 10, 0)
	}
	subjects["another terminal"] = func(dir string) {}
}

// TestTerminalOutside has a program on a terminal whose master is ours.
func TestTerminalOutside(t *testing.T) {
	m, slave := openPty()
	defer unix.Close(m)
	tty := os.NewFile(uintptr(slave), "slave")
	defer tty.Close()
	check(unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, &unix.Winsize{Row: 12, Col: 34}))
	s := startWith(t, "on a terminal", 0, func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.Stderr = tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	})
	snap := s.capture(t)
	if len(snap.refused) > 0 {
		t.Fatalf("refused: %v", snap.refused)
	}
	err := s.restore(t, snap, func(b *restored) error {
		list := b.r.Terminals()
		if len(list) != 1 || list[0].Inside || list[0].Number != -1 || list[0].Winsize != (Winsize{Row: 12, Col: 34}) || list[0].Termios == nil {
			t.Errorf("terminals without one: %+v", list)
		}
		st := must(procfs.ReadStat(int(s.pid)))
		if list[0].TTYNr() != st.TTYNr {
			t.Errorf("terminal number %d, not %d", list[0].TTYNr(), st.TTYNr)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	restoreOnTerminal(t, s, snap)
}

// restoreOnTerminal restarts with a terminal as stdin.
func restoreOnTerminal(t *testing.T, s subject, snap *snapshot) {
	t.Helper()
	m, slave := openPty()
	defer unix.Close(m)
	defer unix.Close(slave)
	s.stdio = []uintptr{uintptr(slave), uintptr(slave), uintptr(slave)}
	err := s.restore(t, snap, func(b *restored) error {
		pid := b.procs[0].PID
		want := must(os.Readlink(fmt.Sprintf("/proc/self/fd/%d", slave)))
		for _, num := range []int{0, 2, 10, 255} {
			if link := must(os.Readlink(fdPath(pid, num))); link != want {
				t.Errorf("fd %d is %s, not %s", num, link, want)
			}
		}
		if order := must(kcmpFile(pid, 0, pid, 255)); order == 0 {
			t.Error("fd 0 and 255 are one description now")
		}
		list := b.r.Terminals()
		if len(list) != 1 || list[0].Number < Landings {
			t.Fatalf("terminals: %+v", list)
		}
		if err := SetTerminal(b.procs[0], 0, &list[0].Terminal); err != nil {
			return err
		}
		if size := must(unix.IoctlGetWinsize(slave, unix.TIOCGWINSZ)); size.Row != 12 || size.Col != 34 {
			t.Errorf("window size %+v", size)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnotherTerminal(t *testing.T) {
	m, slave := openPty()
	defer unix.Close(m)
	tty := os.NewFile(uintptr(slave), "slave")
	defer tty.Close()
	s := startWith(t, "another terminal", 0, func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{tty} })
	wantRefused(t, s.capture(t), map[string]string{"fd 3 (/dev/pts/": "terminal outside the tree"})
}
