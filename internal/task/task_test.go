package task

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// start runs a shell command and returns once it has printed a line.
func start(t *testing.T, script string) PID {
	t.Helper()
	pid, _ := startProgram(t, "/bin/sh", "-c", script)
	return pid
}

// startProgram runs a program, and gives the first line that it prints.
func startProgram(t *testing.T, name string, args ...string) (pid PID, line string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return PID(cmd.Process.Pid), line
}

// layout is /proc/PID/maps in comparable form.
func layout(t *testing.T, pid PID) string {
	t.Helper()
	vmas, err := procfs.ReadMaps(int(pid))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range vmas {
		fmt.Fprintf(&b, "%+v\n", vmas[i])
	}
	return b.String()
}

func TestRunLeavesNoTrace(t *testing.T) {
	pid := start(t, "echo ready; while :; do sleep 0.01; done")
	err := OnThread(func() error {
		for range 20 {
			if err := freezeRunThaw(t, pid); err != nil {
				return err
			}
			time.Sleep(3 * time.Millisecond)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	st, err := procfs.ReadStatus(int(pid))
	if err != nil || st.TracerPID != 0 {
		t.Errorf("status %c tracer %d: %v", st.State, st.TracerPID, err)
	}
}

func freezeRunThaw(t *testing.T, pid PID) error {
	tree, err := Freeze([]PID{pid}, 5*time.Second)
	if err != nil {
		return err
	}
	before := layout(t, pid)
	for _, p := range tree.Procs {
		vmas, err := procfs.ReadMaps(int(p.PID))
		if err != nil {
			return err
		}
		if err := p.Infect(vmas); err != nil {
			return err
		}
		var b Batch
		buf := make([]byte, 16)
		id := b.Add(unix.SYS_GETPID)
		b.Add(unix.SYS_GETITIMER, 0, make([]byte, 32))
		fail := b.Add(unix.SYS_CHDIR, "/does/not/exist").Optional()
		b.Add(unix.SYS_PRCTL, unix.PR_GET_NAME, buf)
		if err := p.Run(&b); err != nil {
			return err
		}
		if id.Ret != int64(p.PID) || fail.Err() != unix.ENOENT || unix.ByteSliceToString(buf) == "" {
			t.Errorf("pid %d, chdir: %v, name %q", id.Ret, fail.Err(), buf)
		}
		if err := p.Cure(); err != nil {
			return err
		}
	}
	if after := layout(t, pid); after != before {
		t.Errorf("layout changed:\n%s\nafter:\n%s", before, after)
	}
	return tree.Thaw()
}

// TestKillReapsThreadsNobodyAdopted: the death of a process is reported only
// when all of its threads have been reaped.
func TestKillReapsThreadsNobodyAdopted(t *testing.T) {
	done := make(chan error)
	go func() {
		done <- OnThread(func() error {
			p, err := Start("/bin/true", []string{"true"}, &syscall.ProcAttr{})
			if err != nil {
				return err
			}
			p.Identify(ID(p.PID))
			vmas, err := procfs.ReadMaps(int(p.PID))
			if err != nil {
				return err
			}
			if err := p.Infect(vmas); err != nil {
				return err
			}
			const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD
			var b Batch
			p.AddClone(&b, thread, 0, 0)
			p.AddClone(&b, thread, 0, 0)
			if err := p.Run(&b); err != nil {
				return err
			}
			return (&Tree{Procs: []*Process{p}}).Kill()
		})
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Kill hangs")
	}
}
