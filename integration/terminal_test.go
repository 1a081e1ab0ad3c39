package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A terminal is a pty whose slave is a tree's controlling terminal from outside.
type terminal struct {
	p      *place
	master *os.File
	slave  *os.File
	out    output
	read   int // how much of out was expected already
}

// newTerminal makes a terminal of a size.
func (p *place) newTerminal(rows, cols uint16) *terminal {
	p.t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	must(p.t, err)
	must(p.t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	must(p.t, err)
	name := fmt.Sprintf("/dev/pts/%d", n)
	must(p.t, os.Chown(name, p.user.uid, -1))
	slave, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	must(p.t, err)
	must(p.t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}))
	term := &terminal{p: p, master: os.NewFile(uintptr(fd), "ptmx"), slave: slave}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := term.master.Read(b)
			term.out.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	p.t.Cleanup(term.hangUp)
	return term
}

func (term *terminal) hangUp() {
	term.slave.Close()
	term.master.Close()
}

// send types.
func (term *terminal) send(text string) {
	term.p.t.Helper()
	_, err := term.master.WriteString(text)
	must(term.p.t, err)
}

// expect waits until the screen shows something new.
func (term *terminal) expect(pattern string) {
	term.p.t.Helper()
	re := regexp.MustCompile(pattern)
	wait(term.p.t, "terminal shows "+pattern, 20*time.Second, func() string {
		seen := term.out.String()[term.read:]
		at := re.FindStringIndex(seen)
		if at == nil {
			return fmt.Sprintf("%q", seen)
		}
		term.read += at[1]
		return ""
	})
}

// session starts a command below supervise on a terminal, as a shell would.
func (p *place) session(term *terminal, argv ...string) *job {
	p.t.Helper()
	prog := program{name: filepath.Base(argv[0]), run: true}
	j := &job{p: p, prog: prog, holder: p.hold(launch{flags: []string{"-t"}, tty: term.slave,
		argv: append([]string{supervise, "run", "--name", "job", "--"}, argv...)})}
	wait(p.t, "start of "+argv[0], 20*time.Second, func() string {
		if pids := j.tree(); len(pids) > 0 {
			j.root = pids[0]
			return ""
		}
		return "no process: " + term.out.String()
	})
	return j
}

// moveTo takes a snapshot of a session, kills it, and restarts it on another
// terminal. quiet says when it may be taken.
func (j *job) moveTo(term *terminal, image string) *job {
	j.t.Helper()
	before := j.settle()
	j.p.checkpoint(j.pid(), j.p.path(image))
	j.undisturbed(before)
	j.killTree()
	j.close()
	return j.p.restartOn(term, j.prog, j.p.path(image))
}

// restartOn restarts a session on a terminal.
func (p *place) restartOn(term *terminal, prog program, image string, args ...string) *job {
	p.t.Helper()
	pidFile := p.path(filepath.Base(image) + ".pid")
	must(p.t, os.RemoveAll(pidFile))
	again := &job{p: p, prog: prog, holder: p.hold(launch{flags: []string{"-t"}, tty: term.slave,
		argv: append([]string{supervise, "restart", image, "--pid-file", pidFile}, args...)})}
	wait(p.t, "restart on another terminal", 20*time.Second, func() string {
		if pid, err := strconv.Atoi(strings.TrimSpace(slurp(pidFile))); err == nil {
			again.root = pid
			return ""
		}
		return "no pid file: " + term.out.String()
	})
	return again
}

// endsWith waits for the end of the session.
func (j *job) endsWith(code int) {
	j.t.Helper()
	wait(j.t, "end of the session", 20*time.Second, func() string {
		s, ok := j.exited(j.child)
		if !ok {
			return j.now()
		}
		if got := shellStatus(s); got != code {
			j.t.Errorf("the session ended with %d, want %d", got, code)
		}
		return ""
	})
	j.nothingLeft("end of the session")
	j.close()
}

// onTerminal runs a test of a session as each user.
func onTerminal(t *testing.T, fn func(p *place, first, second *terminal)) {
	forUsers(t, func(p *place) {
		fn(p, p.newTerminal(24, 80), p.newTerminal(30, 100))
	})
}

// TestPythonREPL moves an interactive Python from one terminal to another.
func TestPythonREPL(t *testing.T) {
	onTerminal(t, func(p *place, a, b *terminal) {
		j := p.session(a, "/usr/bin/python3", "-q", "-I")
		a.expect(`>>> `)
		a.send("x = 41; import os, threading, time\r")
		a.expect(`>>> `)
		a.send("threading.Thread(target=time.sleep, args=(1000,), daemon=True).start(); pid = os.getpid()\r")
		a.expect(`\n.*>>> `)
		j = j.moveTo(b, "image")
		b.send("print('x is', x + 1, pid == os.getpid(), os.get_terminal_size())\r")
		b.expect(`x is 42 True os.terminal_size\(columns=100, lines=30\)`)
		b.send("time.sleep(1000)\r")
		b.expect(`\n`)
		wait(p.t, "Python sleeps", 5*time.Second, func() string {
			if len(busyThreads(j.tree())) == 0 {
				return ""
			}
			return j.now()
		})
		time.Sleep(50 * time.Millisecond)
		b.send("\x03")
		b.expect(`KeyboardInterrupt`)
		c := p.newTerminal(10, 40)
		b.expect(`>>> `)
		j = j.moveTo(c, "image2")
		c.send("print(x * 2)\r")
		c.expect(`82`)
		c.send("raise SystemExit(9)\r")
		j.endsWith(9)
	})
}

// TestShell moves a shell with a running and a stopped job.
func TestShell(t *testing.T) {
	onTerminal(t, func(p *place, a, b *terminal) {
		j := p.session(a, "/bin/bash", "--norc", "--noprofile", "-i")
		a.expect(`\$ `)
		a.send("v=kept; trap 'echo got usr1' USR1\r")
		a.expect(`USR1\r\n.*\$ `)
		a.send("sleep 1001 &\r")
		a.expect(`\[1\] \d+\r\n.*\$ `)
		a.send("sleep 1002\r")
		a.expect(`1002\r\n`)
		wait(p.t, "two sleeps", 5*time.Second, func() string {
			if n := len(j.tree()); n != 3 {
				return strconv.Itoa(n)
			}
			return ""
		})
		time.Sleep(50 * time.Millisecond)
		a.send("\x1a")
		a.expect(`\[2\]\+  Stopped .*sleep 1002\r\n.*\$ `)
		j = j.moveTo(b, "image")
		b.send("jobs; echo v=$v; stty size\r")
		b.expect(`\[1\]-  Running .*sleep 1001 &\r\n\[2\]\+  Stopped .*sleep 1002\r\nv=kept\r\n30 100\r\n.*\$ `)
		b.send("fg %2\r")
		b.expect(`sleep 1002\r\n`)
		time.Sleep(50 * time.Millisecond)
		b.send("\x03")
		b.expect(`\^C\r\n.*\$ `)
		b.send("kill %1; wait %1; echo status $?; kill -USR1 $$\r")
		b.expect(`status 143\r\n`)
		b.expect(`got usr1\r\n`)
		b.send("exit 3\r")
		j.endsWith(3)
	})
}

// TestShellJob takes a snapshot of one job of a shell that is not in the tree:
// leader of its session, and owner of the terminal. It comes back as a job of
// another shell.
func TestShellJob(t *testing.T) {
	onTerminal(t, func(p *place, a, b *terminal) {
		shell := func(term *terminal) *holder {
			h := p.hold(launch{flags: []string{"-t"}, tty: term.slave, argv: []string{"/bin/bash", "--norc", "--noprofile", "-i"}})
			term.expect(`\$ `)
			return h
		}
		old := shell(a)
		a.send("sh -c 'read x; echo got $x; sleep 1001 & read y; kill $!; echo bye $y; exit 5'; echo status $?\r")
		a.expect(`status \$\?\r\n`)
		wait(p.t, "sh runs", 20*time.Second, func() string {
			if n := len(old.tree()); n != 2 {
				return strconv.Itoa(n)
			}
			return ""
		})
		a.send("one\r")
		a.expect(`got one\r\n`)
		pids := old.tree() // the shell, sh and sleep
		for deadline := time.Now().Add(10 * time.Second); len(pids) != 3 && time.Now().Before(deadline); pids = old.tree() {
			time.Sleep(10 * time.Millisecond)
		}
		p.checkpoint(strconv.Itoa(pids[1]), p.path("image"), "--stop")
		a.expect(`status 137\r\n`) // the shell sees its job killed
		again := shell(b)
		b.send(supervise + " restart " + p.path("image") + " --pid-file " + p.path("pid") + "\r")
		wait(p.t, "the job is back", 20*time.Second, func() string {
			if _, err := os.Stat(p.path("pid")); err != nil {
				return b.out.String()
			}
			return ""
		})
		b.send("\x1a")
		b.expect(`Stopped .*\r\n.*\$ `)
		b.send("fg; echo status $?\r")
		b.expect(`\r\n.*supervise restart .*\r\n`)
		b.send("two\r")
		b.expect(`bye two\r\nstatus 5\r\n`)
		for _, sh := range []struct {
			term *terminal
			h    *holder
		}{{a, old}, {b, again}} {
			sh.term.send("exit 0\r")
			sh.h.nothingLeft("end of the shells")
			sh.h.close()
		}
	})
}

// editor is one that people have a text open in.
type editor struct {
	name, write, save string
	argv              []string
}

// TestEditors moves editors: what was typed is there afterwards, and is saved.
func TestEditors(t *testing.T) {
	editors := []editor{
		{"vim", "ihello from before\r", "and after\x1b:wq\r", []string{"/usr/bin/vim.tiny", "-u", "NONE", "-N", "text"}},
		{"nano", "hello from before\r", "and after\x13\x18", []string{"/usr/bin/nano", "--ignorercfiles", "text"}},
	}
	for _, e := range editors {
		t.Run(e.name, func(t *testing.T) {
			if _, err := os.Stat(e.argv[0]); err != nil {
				t.Fatalf("%v: install the packages of packages.txt", err)
			}
			onTerminal(t, func(p *place, a, b *terminal) {
				j := p.session(a, e.argv...)
				a.expect(`text`)
				time.Sleep(100 * time.Millisecond)
				a.send(e.write)
				a.expect(`hello from before`)
				j = j.moveTo(b, "image")
				b.expect(`hello from before`) // SIGWINCH: it draws its screen again
				b.send(e.save)
				j.endsWith(0)
				if got := slurp(p.path("work/text")); got != "hello from before\nand after\n" {
					p.t.Errorf("the file holds %q", got)
				}
			})
		})
	}
}

// TestLostTerminal ends a session whose terminal goes away, after a restart.
func TestLostTerminal(t *testing.T) {
	onTerminal(t, func(p *place, a, b *terminal) {
		j := p.session(a, "/bin/sh", "-i")
		a.expect(`\$ `)
		j = j.moveTo(b, "image")
		b.send("echo x$((1+1))\r")
		b.expect(`x2\r\n`)
		pids := append(j.tree(), j.child)
		b.hangUp() // SIGHUP goes to the holder, the session's leader, and as it dies to all
		wait(p.t, "end by SIGHUP", 20*time.Second, func() string { return strings.Join(states(pids), ", ") })
	})
}

// TestTerminalSignal sends the shell's signals through a restarted supervisor.
func TestTerminalSignal(t *testing.T) {
	forUsers(t, func(p *place) {
		j := p.start(one("blocked").with("pause").inSession())
		j.settle()
		p.checkpoint(j.pid(), p.path("image"), "--stop")
		j.gone()
		again := p.restart(j.prog, p.path("image"))
		must(t, syscall.Kill(again.child, syscall.SIGTERM))
		wait(p.t, "end by SIGTERM", 20*time.Second, func() string {
			s, ok := again.exited(again.child)
			if !ok {
				return again.now()
			}
			if code := shellStatus(s); code != 128+15 {
				p.t.Errorf("ended with %d, want 143: %s", code, again.out.String())
			}
			return ""
		})
	})
}
