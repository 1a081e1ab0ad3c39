package features

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervise/internal/procfs"
)

// TestProbes: they are quick, leave no child, descriptor or file, and give a
// reason and advice for what does not work.
func TestProbes(t *testing.T) {
	dir := t.TempDir()
	ProbeAll(dir) // the runtime opens what it keeps, such as its poller
	before, err := procfs.FDs(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for _, f := range ProbeAll(dir) {
		t.Logf("%-15s ok=%v %s", f.Name, f.OK, f.Reason)
		if !f.OK && (f.Reason == "" || f.Enable == "") {
			t.Errorf("%s: reason %q, enable %q", f.Name, f.Reason, f.Enable)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %s", took)
	}
	if after, _ := procfs.FDs(os.Getpid()); len(after) != len(before) {
		t.Errorf("descriptors before %v, after %v", before, after)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All {
		if seen[f.Name] || f.Since == "" || f.Enables == "" || f.Without == "" || f.probe == nil || f.enable == nil {
			t.Errorf("%s: incomplete, or there twice", f.Name)
		}
		seen[f.Name] = true
	}
	if r := Probe("no-such-feature"); r.OK || r.Reason == "" {
		t.Errorf("%+v", r)
	}
}
