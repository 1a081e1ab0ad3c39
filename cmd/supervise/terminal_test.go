package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openPty makes a pseudo-terminal.
func openPty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// onTerminal starts a command as leader of a session on a terminal of its own.
func onTerminal(t *testing.T, argv []string) (*exec.Cmd, *started, *os.File) {
	t.Helper()
	master, slave := openPty(t)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	master.SetReadDeadline(time.Now().Add(10 * time.Second))
	return cmd, &started{t: t, out: master, stdin: master}, master
}

// TestKeyboard: what the terminal sends to the whole foreground group comes to
// the program once.
func TestKeyboard(t *testing.T) {
	for name, c := range map[string]struct{ key, signal string }{
		"interrupt": {"\x03", "2"},
		"quit":      {"\x1c", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, self("count", c.signal), func(t *testing.T, argv []string) string {
				cmd, out, master := onTerminal(t, argv)
				out.until("ready")
				master.WriteString(c.key)
				return out.until("end") + ending(t, cmd, cmd.Wait())
			})
		})
	}
}

// TestResize: a new size is told to the program once.
func TestResize(t *testing.T) {
	both(t, self("count", "28"), func(t *testing.T, argv []string) string {
		cmd, out, master := onTerminal(t, argv)
		out.until("ready")
		raw, err := master.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 7, Col: 11})
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.until("end") + ending(t, cmd, cmd.Wait())
	})
}

// TestHangup: a terminal that goes away ends the program, although the kernel
// tells only the leader of the session.
func TestHangup(t *testing.T) {
	both(t, []string{"sh", "-c", "echo ready; exec sleep 60"}, func(t *testing.T, argv []string) string {
		cmd, out, master := onTerminal(t, argv)
		out.until("ready")
		master.Close()
		return ending(t, cmd, cmd.Wait())
	})
}

// TestTerminal: the program has the terminal, with all that belongs to it.
func TestTerminal(t *testing.T) {
	script := `stty -a | head -1; tty | sed s/[0-9]*$//; set -- $(cat /proc/self/stat); [ "$5" = "$8" ] && echo foreground
		stty -echo; read x; echo "read $x"; stty echo; echo done`
	both(t, []string{"sh", "-c", script}, func(t *testing.T, argv []string) string {
		cmd, out, master := onTerminal(t, argv)
		got := out.until("foreground")
		time.Sleep(30 * time.Millisecond)
		master.WriteString("typed\n")
		return got + strings.Replace(out.until("done"), "typed\n", "", 1) + ending(t, cmd, cmd.Wait())
	})
}

// TestJobControl: Ctrl-Z stops both, a shell learns of it, and both go on.
func TestJobControl(t *testing.T) {
	numbers := regexp.MustCompile(`pid \d+`)
	for name, c := range map[string]struct {
		script string
		stops  int
	}{
		"plain":  {`echo ready; read x; echo got $x; exit 3`, 1},
		"itself": {`echo ready; kill -TSTP $$; read x; echo got $x; kill -STOP $$; exit 3`, 2},
		"group":  {`echo ready; kill -TSTP 0; read x; echo got $x; exit 3`, 1},
		"traps":  {`trap 'echo cleaning; trap - TSTP; kill -TSTP $$; echo back' TSTP; echo ready; read x || read x; echo got $x; exit 3`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, []string{"/bin/bash", "-c", c.script}, func(t *testing.T, argv []string) string {
				cmd, out, master := onTerminal(t, self(append([]string{"shell"}, argv...)...))
				got := out.until("ready")
				if name == "plain" || name == "traps" {
					time.Sleep(30 * time.Millisecond)
					master.WriteString("\x1a")
				}
				got += out.until("job stopped by signal 20")
				time.Sleep(100 * time.Millisecond) // the shell continues it
				master.WriteString("x\n")
				for !strings.Contains(got, "job ended") {
					got += out.until("")
				}
				_ = cmd.Wait()
				if n := strings.Count(got, "job stopped"); n != c.stops {
					t.Errorf("%d stops, want %d:\n%s", n, c.stops, got)
				}
				return numbers.ReplaceAllString(got, "pid")
			})
		})
	}
}
