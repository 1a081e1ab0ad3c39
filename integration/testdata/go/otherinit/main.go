// otherinit is the init of a machine that another kernel boots. It does what
// /steps says, and writes what came of it to the serial port.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A step is one command. It is killed when it has run for Seconds.
type step struct {
	Name    string
	Argv    []string
	UID     uint32
	Seconds int
	Stay    bool   // it is not waited for
	Await   string // file that must say "ready", "ok" or "FAIL" then
}

// pids are those of steps, which others name by @.
var pids = map[string]int{}

func main() {
	if len(os.Args) > 1 { // as the program of a step
		for {
			time.Sleep(time.Hour)
		}
	}
	if err := run(); err != nil {
		fmt.Println("otherinit:", err)
	}
	fmt.Println("otherinit: end")
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for _, fs := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"devpts", "/dev/pts"}} {
		_ = os.MkdirAll(fs[1], 0o755)
		if err := syscall.Mount(fs[0], fs[1], fs[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", fs[0], err)
		}
	}
	if err := os.Chmod("/tmp", 0o777|os.ModeSticky); err != nil {
		return err
	}
	b, err := os.ReadFile("/steps")
	if err != nil {
		return err
	}
	var steps []step
	if err := json.Unmarshal(b, &steps); err != nil {
		return err
	}
	for _, s := range steps {
		fmt.Printf("<step %s>\n%s\n</step>\n", s.Name, s.run())
	}
	return nil
}

// run gives what the step has printed, and how it ended.
func (s *step) run() string {
	if len(s.Argv) == 2 && s.Argv[0] == "write" {
		path, value, _ := strings.Cut(s.Argv[1], "=")
		return fmt.Sprint(os.WriteFile(path, []byte(value), 0o644))
	}
	out, err := os.CreateTemp("", "out") // no pipe: a program would keep it
	if err != nil {
		return err.Error()
	}
	defer out.Close()
	for i, arg := range s.Argv {
		if name, ok := strings.CutPrefix(arg, "@"); ok {
			s.Argv[i] = strconv.Itoa(pids[name])
		}
	}
	cmd := exec.Command(s.Argv[0], s.Argv[1:]...)
	if !s.Stay { // what stays has nothing open that is only here
		cmd.Stdout, cmd.Stderr = out, out
	}
	cmd.Env = []string{"PATH=/usr/bin", "HOME=/", "TMPDIR=/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: s.UID, Gid: s.UID}}
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	pids[s.Name] = cmd.Process.Pid
	end := "runs"
	if !s.Stay {
		timer := time.AfterFunc(time.Duration(cmp.Or(s.Seconds, 60))*time.Second, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
		err := cmd.Wait()
		timer.Stop()
		end = fmt.Sprintf("exit %d", cmd.ProcessState.ExitCode())
		if exit := (&exec.ExitError{}); err != nil && !errors.As(err, &exit) {
			end = err.Error()
		}
	}
	said := s.await()
	text, _ := os.ReadFile(out.Name())
	return fmt.Sprintf("%s\n%s\n%s", text, end, said)
}

// await gives what the file says in the end.
func (s *step) await() string {
	if s.Await == "" {
		if s.Stay {
			time.Sleep(time.Second)
		}
		return ""
	}
	var log []byte
	for range 300 {
		time.Sleep(100 * time.Millisecond)
		log, _ = os.ReadFile(s.Await)
		if !s.Stay && bytes.Contains(log, []byte("ok")) || s.Stay && bytes.Contains(log, []byte("ready")) || bytes.Contains(log, []byte("FAIL")) {
			break
		}
	}
	return strings.Join(strings.Fields(string(log)), " ")
}
