// Package python_test runs the tests of the Python package beside it.
package python_test

import (
	"os"
	"os/exec"
	"testing"
)

// run runs a module of Debian's Python in a copy of this folder: Go sees by the
// reads that what is tested has changed.
func run(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", args...)
	cmd.Dir = t.TempDir()
	if err := os.CopyFS(cmd.Dir, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("python3 %v: %v (packages: integration/packages.txt)\n%s", args, err, out)
	}
}

func TestUnits(t *testing.T) { run(t, "-W", "error", "-m", "unittest") }

func TestTypes(t *testing.T) { run(t, "-m", "mypy", "--cache-dir", os.DevNull) }
