package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// Tests in this file compare a program under `supervise run` with the same one
// without: what goes through, in both directions, must be the same.

// binary is supervise, built once. The test's own binary would not do: `go test`
// strips it, and run reads the symbol table (supervisor/inherit.go).
var binary string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "helper" {
		os.Exit(helper(os.Args[2:]))
	}
	// What our own caller has left open is not to be in snapshots.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "supervise-test-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "supervise")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, b)
		os.Exit(1)
	}
	os.Setenv("SUPERVISE_DIR", filepath.Join(dir, "jobs"))
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// both runs a subtest for a command as it is, and under supervise.
func both(t *testing.T, argv []string, test func(t *testing.T, argv []string) string) {
	t.Helper()
	var want string
	t.Run("native", func(t *testing.T) { want = test(t, argv) })
	t.Run("supervised", func(t *testing.T) {
		if got := test(t, append([]string{binary, "run", "--"}, argv...)); got != want {
			t.Errorf("got\n%s\nnatively it is\n%s", got, want)
		}
	})
}

// self is a command that runs a helper of this test.
func self(args ...string) []string {
	return append([]string{os.Args[0], "helper"}, args...)
}

func output1(t *testing.T, argv []string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	b, err := cmd.CombinedOutput()
	return string(b) + ending(t, cmd, err)
}

// ending tells how a command ended.
func ending(t *testing.T, cmd *exec.Cmd, err error) string {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return fmt.Sprintf("died by signal %d", ws.Signal())
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}

func TestEnding(t *testing.T) {
	for _, script := range []string{
		"exit 0", "exit 1", "exit 77", "exit 255", "kill -TERM $$", "kill -KILL $$", "kill -SEGV $$", "kill -ABRT $$",
		"kill -INT $$", "kill -HUP $$", "kill -PIPE $$", "kill -34 $$", "kill -64 $$",
	} {
		t.Run(script, func(t *testing.T) { both(t, []string{"sh", "-c", "ulimit -c 0; " + script}, output1) })
	}
}

func TestCannotStart(t *testing.T) {
	t.Setenv("SUPERVISE_DIR", filepath.Join(t.TempDir(), "jobs"))
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("echo no shebang\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo no shebang $0 $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		return output1(t, append([]string{binary, "run"}, args...))
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--", "no-such-command"}, "supervise: start no-such-command: no such file or directory\nexit status 127"},
		{[]string{"--", "./no-such-command"}, "supervise: start ./no-such-command: no such file or directory\nexit status 127"},
		{[]string{"--", t.TempDir()}, "exit status 126"},
		{[]string{"--", file}, "exit status 126"},
		{[]string{"--", script, "x"}, "no shebang " + script + " x\nexit status 0"},
		{[]string{"--"}, "exit status 2"},
		{[]string{"--no-such-flag", "--", "true"}, "exit status 2"},
		{[]string{"--name", "a/b", "--", "true"}, "exit status 2"},
		{[]string{"--dir", "/proc/no", "--", "true"}, "exit status 125"},
		{[]string{"--", "echo", "--", "--name", "-x"}, "-- --name -x\nexit status 0"},
	} {
		if got := run(c.args...); !strings.HasSuffix(got, c.want) {
			t.Errorf("run %q: %q, want %q at the end", c.args, got, c.want)
		}
	}
	if left, _ := os.ReadDir(os.Getenv("SUPERVISE_DIR")); len(left) > 0 {
		t.Errorf("left in the directory of jobs: %v", left)
	}
}

func TestInherits(t *testing.T) {
	facts := `grep -E '^(Sig(Ign|Blk)|Cap|NoNewPrivs|Seccomp|Groups|Umask)' /proc/self/status; ulimit -a; ulimit -Ha; umask; pwd
		cat /proc/self/environ | tr '\0' '\n' | grep -v -e '^_=' -e '^SUPERVISE_SOCKET='; cat /proc/self/stat | cut -d' ' -f 5-8,19,41; cat /proc/self/timerslack_ns
		for fd in /proc/self/fd/*; do readlink $fd; done | grep -v proc/`
	for name, argv := range map[string][]string{
		"plain":    {"sh", "-c", facts},
		"nohup":    {"nohup", "sh", "-c", facts},
		"limits":   {"sh", "-c", "ulimit -Sn 300; ulimit -Ss 4096; umask 027; exec \"$@\"", "x", "sh", "-c", facts},
		"ignoring": {"sh", "-c", "trap '' HUP INT QUIT TERM USR1 USR2 PIPE CHLD TSTP TTIN TTOU ALRM WINCH URG 40; exec \"$@\"", "x", "sh", "-c", facts},
		"blocking": append(self("block"), "sh", "-c", facts),
		"files":    {"sh", "-c", "exec 7</etc/passwd 9>&1; exec \"$@\"", "x", "sh", "-c", facts},
		"empty":    {"env", "-i", "/bin/sh", "-c", facts},
		"twice":    append(self("twice"), "sh", "-c", facts), // a variable that is there twice
	} {
		t.Run(name, func(t *testing.T) {
			at := len(argv) - 3 // supervise goes in front of sh
			native := output1(t, argv)
			supervised := append(append(append([]string{}, argv[:at]...), binary, "run", "--dir", t.TempDir(), "--"), argv[at:]...)
			pipes := regexp.MustCompile(`pipe:\[\d+\]`)
			native = pipes.ReplaceAllString(native, "pipe")
			if got := pipes.ReplaceAllString(output1(t, supervised), "pipe"); got != native {
				t.Errorf("got\n%s\nnatively it is\n%s", got, native)
			}
		})
	}
}

func TestSignalForwarded(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH,
		unix.SIGCONT, unix.SIGALRM, unix.SIGTSTP, unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, 40} {
		t.Run(strconv.Itoa(int(sig)), func(t *testing.T) {
			both(t, self("count", strconv.Itoa(int(sig))), func(t *testing.T, argv []string) string {
				cmd, out := startReady(t, argv)
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				return out.until("end") + ending(t, cmd, cmd.Wait())
			})
		})
	}
}

// TestGroupStop stops only the program, as nobody's shell does: its supervisor
// must not be in the way when it goes on.
func TestStopOfProgramOnly(t *testing.T) {
	cmd, out := startReady(t, append([]string{binary, "run", "--"}, self("count", "10")...))
	pid := child(t, cmd.Process.Pid)
	for range 3 {
		unix.Kill(pid, unix.SIGSTOP)
		time.Sleep(20 * time.Millisecond)
		if st, _ := procfs.ReadStat(cmd.Process.Pid); st.State == 'T' {
			t.Error("the supervisor stopped, too")
		}
		unix.Kill(pid, unix.SIGCONT)
	}
	unix.Kill(pid, unix.SIGUSR1)
	if got := out.until("end") + ending(t, cmd, cmd.Wait()); got != "signal 10: 1\nend\nexit status 0" {
		t.Errorf("got %q", got)
	}
}

// TestEndOfFile: who reads from the program sees it close its output.
func TestEndOfFile(t *testing.T) {
	both(t, []string{"sh", "-c", "echo out; exec >&- 2>&-; sleep 5"}, func(t *testing.T, argv []string) string {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd.Stdout, cmd.Stderr = w, w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		r.SetReadDeadline(time.Now().Add(3 * time.Second))
		var b bytes.Buffer
		_, err = b.ReadFrom(r)
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		return fmt.Sprintf("%s%v", &b, err)
	})
}

// TestOrphans: daemonized grandchildren become children of the supervisor,
// which reaps them, and live on when it ends.
func TestOrphans(t *testing.T) {
	cmd, out := startReady(t, []string{binary, "run", "--", "bash", "-c",
		`(sleep 0.05 & sleep 0.1 &); (setsid sleep 300 >&- 2>&- & echo $!); sleep 0.3; echo ready; read x; exit 4`})
	orphan, err := strconv.Atoi(strings.TrimSpace(out.seen[:len(out.seen)-len("ready\n")]))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(orphan, unix.SIGKILL)
	children, err := procfs.Children(cmd.Process.Pid)
	if err != nil || len(children) != 2 {
		t.Errorf("children of the supervisor: %v, %v; want the program and one orphan", children, err)
	}
	st, err := procfs.ReadStat(orphan)
	if err != nil || st.PPID != cmd.Process.Pid {
		t.Errorf("orphan: %+v, %v; want it to be the supervisor's", st, err)
	}
	out.stdin.Close()
	if got := ending(t, cmd, cmd.Wait()); got != "exit status 4" {
		t.Error(got)
	}
	if st, err := procfs.ReadStat(orphan); err != nil || st.State == 'Z' {
		t.Errorf("the orphan has not outlived its supervisor: %+v, %v", st, err)
	}
}

// TestSupervisorKilled: the program neither ends nor notices.
func TestSupervisorKilled(t *testing.T) {
	cmd, out := startReady(t, append([]string{binary, "run", "--"}, self("count", "10")...))
	pid := child(t, cmd.Process.Pid)
	cmd.Process.Kill()
	time.Sleep(50 * time.Millisecond)
	unix.Kill(pid, unix.SIGUSR1)
	if got := out.until("end"); got != "signal 10: 1\nend\n" {
		t.Errorf("got %q", got)
	}
	_ = cmd.Wait()
}

// child gives the only child of a process.
func child(t *testing.T, pid int) int {
	t.Helper()
	children, err := procfs.Children(pid)
	if err != nil || len(children) != 1 {
		t.Fatalf("children of %d: %v, %v", pid, children, err)
	}
	return children[0]
}
