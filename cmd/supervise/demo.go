package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type demoCmd struct{}

func (demoCmd) Help() string {
	return "A program counts in memory and writes to a file. A snapshot is taken while it runs, it is killed and restarted, " +
		"and must go on from where it was. Takes a few seconds, needs no privilege, leaves nothing behind."
}

// demo is one showing.
type demo struct {
	out  *output
	exe  string
	dir  string // temporary; everything is in it
	step int
	kids []*exec.Cmd
}

func (demoCmd) Run(out *output) error {
	runtime.LockOSThread() // children die with the thread that has started them
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	// What our own caller has left open is not to be in the snapshot.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return os.NewSyscallError("close_range", err)
	}
	dir, err := os.MkdirTemp("", "supervise-demo-")
	if err != nil {
		return err
	}
	d := &demo{out: out, exe: exe, dir: dir}
	err = d.show()
	d.cleanUp()
	if err == nil {
		out.printf("\nIt works. Nothing of it is left.\n")
		return nil
	}
	out.printf("\nThis should not have happened; `supervise check` may tell why.\n")
	return fmt.Errorf("demo: %w", err)
}

// show is the story.
func (d *demo) show() error {
	d.say("A program starts. It counts in memory, from a random number on, with several goroutines\n" +
		"and a timer, and writes each number to a file. It knows nothing of snapshots.")
	first := d.start("run", "--name", "counter", "--dir", d.path("jobs"), "--", d.exe, "demo-counter", d.path("numbers"))
	before, err := d.await(20)
	if err != nil {
		return err
	}
	d.tell("it has written %d lines and sees itself as pid %d", before.lines, before.pid)

	d.say("A snapshot is taken while it runs.")
	facts, err := d.checkpoint()
	if err != nil {
		return err
	}
	d.tell("%d process, %d threads, %s of memory; the program stood still for %s", facts.Processes,
		facts.Threads, byteCount(facts.PageBytes), round(facts.Pause))

	d.say("The program goes on, as if nothing had happened.")
	after, err := d.await(d.count().lines + 20)
	if err != nil {
		return err
	}
	d.tell("%d lines now", after.lines)

	d.say("It is killed with SIGKILL, and its supervisor, too.")
	if err := d.kill(first, facts.RootPID); err != nil {
		return err
	}
	dead := d.count()
	d.tell("it is dead; the last line is number %d", dead.lines)

	d.say("It is restarted from the snapshot.")
	return d.restart(facts.Image, before, dead)
}

// restart brings the program back and sees whether it is the same.
func (d *demo) restart(image string, before, dead counted) error {
	second := d.start("restart", "--dir", d.path("jobs"), "--pid-file", d.path("pid"), image)
	if err := d.awaitPidFile(); err != nil {
		return err
	}
	again, err := d.await(dead.lines + 20)
	if err != nil {
		return err
	}
	host, _ := os.ReadFile(d.path("pid"))
	d.tell("it runs, as pid %s of this host, and has written %d lines", strings.TrimSpace(string(host)), again.lines)
	if again.pid != before.pid {
		return fmt.Errorf("it sees itself as pid %d, not %d", again.pid, before.pid)
	}
	d.tell("it still sees itself as pid %d", again.pid)
	d.tell("each number follows from the one before: it went on from where it was")

	d.say("SIGTERM to supervise ends the program, as if supervise were not there.")
	if err := second.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	_ = second.Wait()
	ws, _ := second.ProcessState.Sys().(syscall.WaitStatus)
	if !ws.Signaled() || ws.Signal() != unix.SIGTERM {
		return fmt.Errorf("it ended with %s", second.ProcessState)
	}
	d.tell("both ended by it")
	return nil
}

// say begins a step of the story, tell gives a fact.
func (d *demo) say(text string) {
	d.step++
	d.out.printf("\n%d. %s\n", d.step, strings.ReplaceAll(text, "\n", "\n   "))
}

func (d *demo) tell(format string, args ...any) { d.out.printf("   -> "+format+"\n", args...) }

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// start starts supervise with a command, away from our terminal. What it
// prints goes to a file.
func (d *demo) start(args ...string) *exec.Cmd {
	cmd := exec.Command(d.exe, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL}
	log, err := os.OpenFile(d.path("log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
	}
	d.kids = append(d.kids, cmd)
	if err := cmd.Start(); err != nil {
		d.tell("%v", err) // what waits for its work tells the rest
	}
	return cmd
}

// checkpoint takes the snapshot.
func (d *demo) checkpoint() (*snapshotFacts, error) {
	cmd := exec.Command(d.exe, "checkpoint", "counter", "--dir", d.path("jobs"), "--json")
	b, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("the snapshot failed:\n%s", strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return nil, err
	}
	facts := new(snapshotFacts)
	return facts, json.Unmarshal(b, facts)
}

// patienceOfDemo is how long anything may take.
const patienceOfDemo = 20 * time.Second

// await waits until there are so many lines, and checks them all.
func (d *demo) await(lines int) (counted, error) {
	deadline := time.Now().Add(patienceOfDemo)
	for {
		c := d.count()
		if c.err != nil || c.lines >= lines {
			return c, c.err
		}
		if time.Now().After(deadline) {
			return c, fmt.Errorf("%d lines only after %s%s", c.lines, patienceOfDemo, d.log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// awaitPidFile waits until the restart is complete.
func (d *demo) awaitPidFile() error {
	for deadline := time.Now().Add(patienceOfDemo); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(d.path("pid")); err == nil {
			return nil
		}
		if log := d.log(); log != "" {
			return errors.New("the restart failed" + log)
		}
	}
	return fmt.Errorf("the restart takes more than %s", patienceOfDemo)
}

// log gives what supervise has printed.
func (d *demo) log() string {
	b, err := os.ReadFile(d.path("log"))
	if err != nil || len(b) == 0 {
		return ""
	}
	return ":\n" + strings.TrimSpace(string(b))
}

// kill ends the program and its supervisor the hard way.
func (d *demo) kill(supervisor *exec.Cmd, root int) error {
	if err := supervisor.Process.Kill(); err != nil {
		return err
	}
	_ = supervisor.Wait()
	if err := unix.Kill(root, unix.SIGKILL); err != nil {
		return err
	}
	for deadline := time.Now().Add(patienceOfDemo); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat("/proc/" + strconv.Itoa(root) + "/exe"); err != nil {
			return nil // gone, or a zombie
		}
	}
	return fmt.Errorf("pid %d does not die", root)
}

// cleanUp ends what still runs and removes the files.
func (d *demo) cleanUp() {
	for _, cmd := range d.kids {
		if cmd.Process == nil || cmd.ProcessState != nil {
			continue
		}
		if c := d.count(); c.pid > 0 {
			_ = cmd.Process.Signal(unix.SIGTERM)
			time.Sleep(100 * time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if err := os.RemoveAll(d.dir); err != nil {
		d.tell("%v", err)
	}
}
