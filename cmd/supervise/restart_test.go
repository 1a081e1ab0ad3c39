package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/features"
	"supervise/internal/procfs"
)

// needsRestart skips a test where restarts do not work.
func needsRestart(t *testing.T) {
	t.Helper()
	snapshot, restart := features.Verdict(features.ProbeAll(t.TempDir()))
	if err := errors.Join(snapshot, restart); err != nil {
		t.Skip(err)
	}
}

// take takes a snapshot and gives its directory.
func take(t *testing.T, args ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	cmd := exec.Command(binary, append([]string{"checkpoint", "--json", "--image", image}, args...)...)
	b, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	var facts snapshotFacts
	if err := json.Unmarshal(b, &facts); err != nil || facts.Image != image {
		t.Fatalf("%s %v", b, err)
	}
	return image
}

// TestRestartOnTerminal: a restarted program has the terminal of restart, stops
// and goes on with it, and gets what is typed.
func TestRestartOnTerminal(t *testing.T) {
	needsRestart(t)
	cmd, out, _ := onTerminal(t, append([]string{binary, "run", "--"}, self("count", "2")...))
	out.until("ready")
	image := take(t, "--stop", pidOf(cmd))
	if got := ending(t, cmd, cmd.Wait()); got != "died by signal 9" {
		t.Errorf("after --stop: %s", got)
	}

	shell, out, keyboard := onTerminal(t, self("shell", binary, "restart", image))
	root := awaitRoot(t, shell.Process.Pid)
	keyboard.WriteString("\x1a")
	if got := out.until("job stopped by signal 20"); strings.Contains(got, "ended") {
		t.Fatal(got)
	}
	awaitState(t, root, "RS")
	keyboard.WriteString("\x03")
	if got := out.until("end"); !strings.HasSuffix(got, "signal 2: 1\nend\n") {
		t.Errorf("got %q", got)
	}
	if got := out.until("job ended: 0"); got != "job ended: 0\n" {
		t.Errorf("got %q", got)
	}
	_ = shell.Wait()
}

// TestRestartStopped: a restart that is stopped from the keyboard at whatever
// moment, and continued by its shell, brings the program back all the same.
func TestRestartStopped(t *testing.T) {
	needsRestart(t)
	cmd, out, _ := onTerminal(t, append([]string{binary, "run", "--"}, self("count", "2")...))
	out.until("ready")
	image := take(t, "--stop", pidOf(cmd))
	_ = cmd.Wait()
	for n := range 20 {
		after := time.Duration(n) * 5 * time.Millisecond
		shell, out, keyboard := onTerminal(t, self("shell", binary, "restart", image))
		awaitProgram(t, shell.Process.Pid)
		time.Sleep(after)
		keyboard.WriteString("\x1a")
		time.Sleep(150 * time.Millisecond) // until it is continued, if the restart had the terminal by then
		root := awaitRoot(t, shell.Process.Pid)
		awaitState(t, root, "RS")
		keyboard.WriteString("\x03")
		if got := out.until("end"); !strings.HasSuffix(got, "signal 2: 1\nend\n") {
			t.Errorf("stopped after %v: got %q", after, got)
		}
		if got := out.until("job ended: 0"); got != "job ended: 0\n" {
			t.Errorf("stopped after %v: got %q", after, got)
		}
		_ = shell.Wait()
	}
}

// awaitProgram waits until a child of pid has become supervise.
func awaitProgram(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		children, _ := procfs.Children(pid)
		for _, c := range children {
			if args, err := procfs.Cmdline(c); err == nil && len(args) > 0 && args[0] == binary {
				return
			}
		}
	}
	t.Fatal("supervise is not started")
}

// TestRestartForwards: a signal to restart comes to the program, and its end
// is the program's.
func TestRestartForwards(t *testing.T) {
	needsRestart(t)
	cmd, _ := startReady(t, append([]string{binary, "run", "--"}, self("count", "10")...))
	image := take(t, "--stop", pidOf(cmd))
	_ = cmd.Wait()
	for _, c := range []struct {
		sig  unix.Signal
		want string
	}{{unix.SIGUSR1, "exit status 0"}, {unix.SIGTERM, "died by signal 15"}, {unix.SIGKILL, "died by signal 9"}} {
		again := exec.Command(binary, "restart", image)
		if err := again.Start(); err != nil {
			t.Fatal(err)
		}
		root := awaitRoot(t, again.Process.Pid)
		time.Sleep(20 * time.Millisecond)
		if c.sig == unix.SIGKILL {
			unix.Kill(root, c.sig)
		} else {
			again.Process.Signal(c.sig)
		}
		if got := ending(t, again, again.Wait()); got != c.want {
			t.Errorf("signal %d: %s, want %s", c.sig, got, c.want)
		}
	}
}

// TestJobOfOrphans: what a supervisor has adopted is in the snapshot.
func TestJobOfOrphans(t *testing.T) {
	needsRestart(t)
	cmd, _ := startReady(t, []string{binary, "run", "--name", "orphans", "--", "bash", "-c",
		`(setsid sleep 300 </dev/null >&0 2>&0 &); echo ready; exec sleep 300 </dev/null >&0 2>&0`})
	time.Sleep(50 * time.Millisecond)
	for _, target := range []string{"orphans", pidOf(cmd)} {
		var stdout, stderr strings.Builder
		if code := run([]string{"inspect", take(t, target)}, &stdout, &stderr); code != 0 {
			t.Fatal(stderr.String())
		}
		if got := strings.Count(stdout.String(), "\nprocess "); got != 2 {
			t.Errorf("%s: %d processes, want the program and an orphan:\n%s", target, got, stdout.String())
		}
	}
	children, _ := procfs.Children(cmd.Process.Pid)
	for _, pid := range children {
		unix.Kill(pid, unix.SIGKILL)
	}
}

func pidOf(cmd *exec.Cmd) string { return strconv.Itoa(cmd.Process.Pid) }

// awaitRoot waits until a program runs under `supervise restart`, which is pid
// or a child of it, and gives its pid.
func awaitRoot(t *testing.T, pid int) int {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if root := descendant(pid, "count"); root != 0 {
			return root
		}
	}
	t.Fatal("the restarted program does not come up")
	return 0
}

// descendant finds a running descendant by an argument of it.
func descendant(pid int, arg string) int {
	children, _ := procfs.Children(pid)
	for _, c := range children {
		args, _ := procfs.Cmdline(c)
		st, _ := procfs.ReadStatus(c)
		if len(args) > 2 && args[2] == arg && st.TracerPID == 0 {
			return c
		}
		if found := descendant(c, arg); found != 0 {
			return found
		}
	}
	return 0
}

func awaitState(t *testing.T, pid int, states string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if st, err := procfs.ReadStat(pid); err == nil && strings.IndexByte(states, st.State) >= 0 {
			return
		}
	}
	t.Fatalf("pid %d does not get into a state of %s", pid, states)
}
