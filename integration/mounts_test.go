package integration

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// unmountBelow takes off what programs have mounted in a directory, the last first.
func unmountBelow(t testing.TB, dir string) {
	b, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for _, line := range slices.Backward(strings.Split(string(b), "\n")) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			must(t, syscall.Unmount(fields[1], syscall.MNT_DETACH))
		}
	}
}
