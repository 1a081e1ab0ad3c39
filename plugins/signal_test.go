package plugins

import (
	"bufio"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/plugins/client"
)

func TestSignalSpecs(t *testing.T) {
	for _, test := range []struct{ before, after, wrong string }{
		{"USR1", "", ""}, {"sigusr1:3s", "SIGCONT", ""}, {"", "12", ""}, {"HUP::/run/ready", "", ""}, {"TERM:1m:/a:b", "", ""},
		{"KILL", "", "no signal"}, {"0", "", "no signal"}, {"65", "", "no signal"}, {"USR1:x", "", "no time"}, {"USR1:-1s", "", "no time"},
		{"USR1:1h", "", "no time"}, {"USR1:1s:ready", "", "not a full path"}, {"", "STOP", "no signal"},
	} {
		p, err := signals(test.before, test.after)
		switch {
		case test.wrong == "" && (err != nil || len(p.Events) == 0):
			t.Errorf("%+v: %v", test, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// TestSignalWaits: a shell runs the trap between commands, and is waited for
// since it says when it is ready; one that does not handle the signal is left alone.
func TestSignalWaits(t *testing.T) {
	ready := t.TempDir() + "/ready"
	cmd := exec.Command("/bin/sh", "-c", `trap 'sleep 0.2; : > "$0"' USR1; trap 'exit 3' USR2; echo; while :; do sleep 0.01; done`, ready)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	event := func(name, before, after string) error {
		p, err := signals(before, after)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.fn(client.Event{Name: name, Snapshot: &client.Facts{RootPID: cmd.Process.Pid}})
		return err
	}
	if err := event(client.BeforeFreeze, "HUP", ""); err == nil || !strings.Contains(err.Error(), "has no handler for SIGHUP") {
		t.Errorf("SIGHUP: %v", err)
	}
	start := time.Now()
	if err := event(client.BeforeFreeze, "USR1:20s:"+ready, ""); err != nil || time.Since(start) < 200*time.Millisecond {
		t.Errorf("SIGUSR1: %v after %v", err, time.Since(start))
	}
	if err := event(client.Resumed, "USR1:20s:"+ready, "USR2"); err != nil {
		t.Error(err)
	}
	if err := unix.Access(ready, unix.F_OK); err != unix.ENOENT {
		t.Errorf("the file is there: %v", err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.Sys().(syscall.WaitStatus).ExitStatus(); code != 3 {
		t.Errorf("it ended with %d", code)
	}
}
