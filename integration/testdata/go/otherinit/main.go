// otherinit is the init of a machine that another kernel boots: it restarts the
// image that /args names, lets the program check itself, and says how it went.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

func main() {
	fmt.Println("otherinit:", run())
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

// run gives what the program has written to its log, or why not.
func run() string {
	for _, fs := range [][2]string{{"proc", "/proc"}, {"devtmpfs", "/dev"}} {
		_ = os.MkdirAll(fs[1], 0o755)
		if err := syscall.Mount(fs[0], fs[1], fs[0], 0, ""); err != nil {
			return "mount " + fs[0] + ": " + err.Error()
		}
	}
	args, err := os.ReadFile("/args")
	if err != nil {
		return err.Error()
	}
	f := strings.Split(string(args), "\n") // supervise, image, go file, log
	restart := exec.Command(f[0], "restart", f[1], "--detach")
	restart.Stdout, restart.Stderr = os.Stdout, os.Stdout // no pipe: the program keeps it
	if err := restart.Run(); err != nil {
		return "restart: " + err.Error()
	}
	time.Sleep(time.Second)
	if err := os.WriteFile(f[2], nil, 0o644); err != nil {
		return err.Error()
	}
	var log []byte
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		log, _ = os.ReadFile(f[3])
		if strings.Contains(string(log), "ok") || strings.Contains(string(log), "FAIL") {
			break
		}
	}
	return strings.Join(strings.Fields(string(log)), " ")
}
