package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helper is what the test binary does when it is started as a program of its
// own. It gives the exit status.
func helper(args []string) int {
	switch args[0] {
	case "count":
		return countSignals(args[1])
	case "block":
		return blockAndExec(args[1:])
	case "twice":
		return execTwice(args[1:])
	case "reset":
		// A signal that is caught gets its default action by an exec.
		signal.Notify(make(chan os.Signal, 1), unix.SIGTTOU)
		return execute(args[1:], os.Environ())
	case "shell":
		return jobShell(args[1:])
	}
	fmt.Println("no such helper:", args)
	return 99
}

// countSignals counts a signal until it has been quiet for a while, and prints
// how often it came.
func countSignals(arg string) int {
	const quiet = 150 * time.Millisecond
	number, _ := strconv.Atoi(arg)
	got := make(chan os.Signal, 100)
	signal.Notify(got, syscall.Signal(number))
	fmt.Println("ready")
	<-got
	n := 1
	for {
		select {
		case <-got:
			// The Go runtime sends itself SIGURG.
			if syscall.Signal(number) != unix.SIGURG {
				n++
			}
		case <-time.After(quiet):
			fmt.Printf("signal %d: %d\nend\n", number, n)
			return 0
		}
	}
}

// blockAndExec executes a command with signals blocked, among them some that
// the Go runtime does not leave blocked.
func blockAndExec(argv []string) int {
	runtime.LockOSThread()
	var set unix.Sigset_t
	for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGCHLD, unix.SIGPROF, unix.SIGTERM, 34, 35, 50} {
		set.Val[0] |= 1 << (sig - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil); err != nil {
		fmt.Println(err)
		return 1
	}
	return execute(argv, os.Environ())
}

// execTwice executes a command with a variable twice in its environment, and
// with one that is none.
func execTwice(argv []string) int {
	return execute(argv, append(os.Environ(), "TWICE=1", "TWICE=2", "NOTHING"))
}

func execute(argv, environ []string) int {
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = unix.Exec(path, argv, environ)
	}
	fmt.Println(err)
	return 1
}

// jobShell is a shell with job control: it runs a command in the foreground of
// its terminal, tells when it stops, and continues it twice.
func jobShell(argv []string) int {
	signal.Ignore(unix.SIGTTOU) // the job's, too, while it takes the terminal
	argv = self(append([]string{"reset"}, argv...)...)
	cmd, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0},
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for {
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(cmd.Pid, &ws, unix.WUNTRACED, nil); err != nil {
			fmt.Println(err)
			return 1
		}
		if !ws.Stopped() {
			fmt.Printf("job ended: %d\n", ws)
			return 0
		}
		unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp())
		fmt.Printf("job stopped by signal %d\n", ws.StopSignal())
		time.Sleep(50 * time.Millisecond)
		unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, cmd.Pid)
		unix.Kill(-cmd.Pid, unix.SIGCONT)
	}
}

// started is a program whose output is read step by step.
type started struct {
	t     *testing.T
	out   io.Reader
	stdin io.WriteCloser
	seen  string
}

// startReady starts a program in a process group of its own and waits until it
// says that it is ready.
func startReady(t *testing.T, argv []string) (*exec.Cmd, *started) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		r.Close()
		if cmd.ProcessState == nil {
			unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			_ = cmd.Wait()
		}
	})
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	s := &started{t: t, out: r, stdin: stdin}
	s.until("ready")
	return cmd, s
}

// until reads until a line is there, and gives all that was read for it.
func (s *started) until(line string) string {
	s.t.Helper()
	s.seen = ""
	b := make([]byte, 1)
	for !strings.HasSuffix(s.seen, line+"\n") {
		if _, err := s.out.Read(b); err != nil {
			s.t.Fatalf("waiting for %q: %v; got %q", line, err, s.seen)
		}
		if b[0] != '\r' {
			s.seen += string(b)
		}
	}
	return s.seen
}
