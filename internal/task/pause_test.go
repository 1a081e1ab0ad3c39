package task

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// diesInPause is the pid that a second run of this test binary is to die over.
const diesInPause = "SUPERVISE_TEST_DIES_IN_PAUSE"

func TestMain(m *testing.M) {
	ringDies()
	if pid, err := strconv.Atoi(os.Getenv(diesInPause)); err == nil {
		_ = pauseIn(PID(pid), func() error { return unix.Kill(os.Getpid(), unix.SIGKILL) })
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// pauseIn renames a process "during" for a pause, and then "after".
func pauseIn(pid PID, during func() error) error {
	return OnThread(func() error {
		tree, err := Freeze([]PID{pid}, 5*time.Second)
		if err != nil {
			return err
		}
		defer tree.Thaw()
		vmas, err := procfs.ReadMaps(int(pid))
		if err != nil {
			return err
		}
		if err := tree.Procs[0].Infect(vmas); err != nil {
			return err
		}
		var b Batch
		b.Add(unix.SYS_PRCTL, unix.PR_SET_NAME, "during")
		b.Pause(during)
		b.Add(unix.SYS_PRCTL, unix.PR_SET_NAME, "after")
		return tree.Procs[0].Run(&b)
	})
}

func nameOf(t *testing.T, pid PID) string {
	t.Helper()
	st, err := procfs.ReadStat(int(pid))
	if err != nil {
		t.Fatal(err)
	}
	return st.Comm
}

func TestPause(t *testing.T) {
	pid := start(t, "echo ready; while :; do sleep 0.01; done")
	for range 20 {
		said := errors.New("said in the pause")
		err := pauseIn(pid, func() error {
			if name := nameOf(t, pid); name != "during" {
				t.Errorf("in the pause it is %q", name)
			}
			return said
		})
		if !errors.Is(err, said) {
			t.Errorf("got %v", err)
		}
		if name := nameOf(t, pid); name != "after" {
			t.Errorf("after the pause it is %q", name)
		}
	}
}

// TestDeathInPause kills the tracer in a pause: what comes after it happens.
func TestDeathInPause(t *testing.T) {
	pid := start(t, "echo ready; while :; do sleep 0.01; done")
	for range 10 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), diesInPause+"="+strconv.Itoa(int(pid)))
		if err := cmd.Run(); cmd.ProcessState.String() != "signal: killed" {
			t.Fatalf("the tracer: %v", err)
		}
		for end := time.Now().Add(10 * time.Second); nameOf(t, pid) != "after"; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it is still %q", nameOf(t, pid))
			}
		}
		if err := pauseIn(pid, func() error { return nil }); err != nil { // it is well, and can be held again
			t.Fatal(err)
		}
	}
}
